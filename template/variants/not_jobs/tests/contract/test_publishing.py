"""Publishing a post, and who is told of it."""

import httpx2
import pytest

from contract.posts import draft_of
from support.service import Account, Service, check_envelope


def test_a_post_is_published_and_its_readers_get_a_mail(
    service: Service, user: Account, other: Account, anyone: httpx2.Client
) -> None:
    post = draft_of(user, title="To be read")
    assert anyone.get(f"/posts/{post['id']}").status_code == 404
    answer = user.client.post(f"/posts/{post['id']}/publish")
    assert answer.status_code == 200
    published = answer.json()
    assert published["status"] == "published"
    assert published["published_at"].endswith("Z")
    assert anyone.get(f"/posts/{post['id']}").json() == published
    # The first mail to each was the one that proved the address.
    mail = service.mail(other.email, 2)
    assert "To be read" in mail.get_content()
    assert f"/posts/{post['id']}" in mail.get_content()
    assert len(service.mails(user.email)) == 1


def test_publishing_again_changes_nothing_and_sends_nothing(service: Service, user: Account, other: Account) -> None:
    path = f"/posts/{draft_of(user)['id']}/publish"
    first = user.client.post(path).json()
    service.mail(other.email, 2)
    assert user.client.post(path).json() == first
    # A later post's mail is queued behind whatever the second call queued.
    user.client.post(f"/posts/{draft_of(user, title='Later')['id']}/publish")
    assert "Later" in service.mail(other.email, 3).get_content()


@pytest.mark.parametrize("who", ["editor", "admin"])
def test_the_staff_publishes_what_others_wrote(request: pytest.FixtureRequest, user: Account, who: str) -> None:
    account: Account = request.getfixturevalue(who)
    assert account.client.post(f"/posts/{draft_of(user)['id']}/publish").status_code == 200


def test_others_do_not_publish_and_do_not_learn_what_is_there(
    user: Account, other: Account, anyone: httpx2.Client
) -> None:
    path = f"/posts/{draft_of(user)['id']}/publish"
    check_envelope(anyone.post(path), 401, "INVALID_TOKEN")
    check_envelope(other.client.post(path), 404, "NOT_FOUND")
    assert user.client.post(path).status_code == 200
    check_envelope(other.client.post(path), 403, "FORBIDDEN")
