"""Publishing a post by a durable job, and what is told of the job."""

import httpx2
import pytest

from contract.posts import draft_of, finished
from support.service import Account, Service, check_envelope


def test_a_post_is_published_by_a_job_and_its_readers_get_a_mail(
    service: Service, user: Account, other: Account, anyone: httpx2.Client
) -> None:
    post = draft_of(user, title="To be read")
    assert anyone.get(f"/posts/{post['id']}").status_code == 404
    answer = user.client.post(f"/posts/{post['id']}/publish")
    assert answer.status_code == 202
    job = finished(user, answer.json()["job_id"])
    assert (job["name"], job["status"], job["attempts"], job["error"]) == ("publish_post", "succeeded", 1, None)
    assert job["queued_at"].endswith("Z")
    assert job["finished_at"].endswith("Z")
    published = anyone.get(f"/posts/{post['id']}").json()
    assert published["status"] == "published"
    assert published["published_at"].endswith("Z")
    # The first mail to each was the one that proved the address.
    mail = service.mail(other.email, 2)
    assert "To be read" in mail.get_content()
    assert f"/posts/{post['id']}" in mail.get_content()
    assert len(service.mails(user.email)) == 1


def test_publishing_again_changes_nothing_and_sends_nothing(service: Service, user: Account, other: Account) -> None:
    post = draft_of(user)
    for _ in range(2):
        job_id = user.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
        assert finished(user, job_id)["status"] == "succeeded"
        first = user.client.get(f"/posts/{post['id']}").json()["published_at"]
        service.mail(other.email, 2)
    assert user.client.get(f"/posts/{post['id']}").json()["published_at"] == first
    assert len(service.mails(other.email)) == 2


@pytest.mark.parametrize("who", ["editor", "admin"])
def test_the_staff_publishes_what_others_wrote(request: pytest.FixtureRequest, user: Account, who: str) -> None:
    account: Account = request.getfixturevalue(who)
    post = draft_of(user)
    answer = account.client.post(f"/posts/{post['id']}/publish")
    assert answer.status_code == 202
    assert finished(account, answer.json()["job_id"])["status"] == "succeeded"


def test_others_do_not_publish_and_do_not_learn_what_is_there(
    user: Account, other: Account, anyone: httpx2.Client
) -> None:
    post = draft_of(user)
    check_envelope(anyone.post(f"/posts/{post['id']}/publish"), 401, "INVALID_TOKEN")
    check_envelope(other.client.post(f"/posts/{post['id']}/publish"), 404, "NOT_FOUND")
    job_id = user.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
    finished(user, job_id)
    check_envelope(other.client.post(f"/posts/{post['id']}/publish"), 403, "FORBIDDEN")


def test_a_job_is_for_who_queued_it_and_for_admins(
    user: Account, other: Account, admin: Account, anyone: httpx2.Client
) -> None:
    post = draft_of(user)
    job_id = user.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
    finished(user, job_id)
    assert admin.client.get(f"/jobs/{job_id}").json()["id"] == job_id
    check_envelope(other.client.get(f"/jobs/{job_id}"), 404, "NOT_FOUND")
    check_envelope(anyone.get(f"/jobs/{job_id}"), 401, "INVALID_TOKEN")
    check_envelope(user.client.get(f"/jobs/{'0' * 32}"), 404, "NOT_FOUND")
    check_envelope(user.client.get("/jobs/no-such-id"), 404, "NOT_FOUND")
    check_envelope(user.client.get("/jobs/no%00id"), 422, "VALIDATION_ERROR")


def test_a_post_that_is_deleted_before_its_job_runs_is_no_endless_job(user: Account) -> None:
    post = draft_of(user)
    job_id = user.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
    user.client.delete(f"/posts/{post['id']}")
    job = finished(user, job_id)
    # Whichever came first.
    assert (job["status"], job["error"]) in {("failed", "The post was deleted"), ("succeeded", None)}
    assert job["attempts"] == 1
