from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from support.service import Account, check_envelope

POST = {"title": "A title", "body": "Several\nlines."}


def test_a_post_is_written_read_changed_and_deleted(user: Account) -> None:
    made = user.client.post("/posts", json=POST)
    assert made.status_code == 201
    post = made.json()
    assert made.headers["location"] == f"/posts/{post['id']}"
    assert set(post) == {"id", "title", "body", "status", "author_id", "created_at", "published_at"}
    assert (post["title"], post["body"], post["author_id"]) == (POST["title"], POST["body"], user.id)
    assert (post["status"], post["published_at"]) == ("draft", None)
    path = f"/posts/{post['id']}"
    assert user.client.get(path).json() == post
    changed = user.client.patch(path, json={"title": "Another title"}).json()
    assert changed == {**post, "title": "Another title"}
    assert user.client.get(path).json() == changed
    assert user.client.delete(path).status_code == 204
    check_envelope(user.client.get(path), 404, "NOT_FOUND")


def test_a_draft_is_not_there_for_the_rest(
    user: Account, other: Account, editor: Account, admin: Account, anyone: httpx2.Client
) -> None:
    path = f"/posts/{user.client.post('/posts', json=POST).json()['id']}"
    absent = check_envelope(other.client.get("/posts/999999999"), 404, "NOT_FOUND")
    for client in [anyone, other.client]:
        hidden = check_envelope(client.get(path), 404, "NOT_FOUND")
        assert {**hidden, "request_id": None} == {**absent, "request_id": None}
        listed = client.get("/posts", params={"limit": 100}).json()["items"]
        assert all(f"/posts/{item['id']}" != path for item in listed)
    for method in ["PATCH", "DELETE"]:
        body = {"title": "x"} if method == "PATCH" else None
        check_envelope(other.client.request(method, path, json=body), 404, "NOT_FOUND")
        # Without a token there is nothing that could be allowed to anyone.
        assert anyone.request(method, path, json=body).status_code in {401, 404}
    check_envelope(other.client.post(f"{path}/comments", json={"body": "x"}), 404, "NOT_FOUND")
    check_envelope(other.client.get(f"{path}/comments"), 404, "NOT_FOUND")
    for staff in [editor.client, admin.client]:
        assert staff.get(path).status_code == 200
        assert staff.patch(path, json={"title": "By the staff"}).status_code == 200
    check_envelope(editor.client.delete(path), 403, "FORBIDDEN")
    assert admin.client.delete(path).status_code == 204


def test_writing_needs_a_user(anyone: httpx2.Client) -> None:
    check_envelope(anyone.post("/posts", json=POST), 401, "INVALID_TOKEN")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "", "body": "b"}, "title"),
        ({"title": "t"}, "body"),
        ({"title": "t" * 201, "body": "b"}, "title"),
        ({"title": "a\nb", "body": "b"}, "title"),
        ({"title": "t", "body": "a\x00b"}, "body"),
        ({"title": "t", "body": 7}, "body"),
        ({"title": "t", "body": "b", "author_id": 1}, "author_id"),
        ({"title": "t", "body": "b", "status": "published"}, "status"),
        ({"title": None, "body": "b"}, "title"),
    ],
)
def test_a_post_that_does_not_hold_names_the_field(user: Account, body: dict[str, object], field: str) -> None:
    answer = check_envelope(user.client.post("/posts", json=body), 422, "VALIDATION_ERROR")
    assert [error["field"] for error in answer["field_errors"]] == [field]


def test_a_change_cannot_set_a_member_to_null(user: Account) -> None:
    path = f"/posts/{user.client.post('/posts', json=POST).json()['id']}"
    check_envelope(user.client.patch(path, json={"title": None}), 422, "VALIDATION_ERROR")
    assert user.client.patch(path, json={}).json()["title"] == POST["title"]


def test_pages_give_every_post_once_newest_first(user: Account) -> None:
    ids = [user.client.post("/posts", json={**POST, "title": f"Number {n}"}).json()["id"] for n in range(7)]
    seen: list[int] = []
    cursor: str | None = None
    pages = 0
    while True:
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = user.client.get("/posts", params=params).json()
        assert len(page["items"]) <= 3
        seen += [item["id"] for item in page["items"]]
        # What is written meanwhile is newer, and does not shift what follows.
        user.client.post("/posts", json=POST)
        cursor = page["next_cursor"]
        pages += 1
        if cursor is None or set(ids) <= set(seen):
            break
    assert pages >= 3
    assert len(seen) == len(set(seen))
    assert [post_id for post_id in seen if post_id in ids] == ids[::-1]


@pytest.mark.parametrize("cursor", ["x", "é", "A" * 60, "a" * 5000, "%00", "=", "-1", "eyJpZCI6MX0"])
def test_a_broken_cursor_is_a_422(anyone: httpx2.Client, cursor: str) -> None:
    answer = check_envelope(anyone.get("/posts", params={"cursor": cursor}), 422, "VALIDATION_ERROR")
    assert [error["field"] for error in answer["field_errors"]] == ["cursor"]


def test_a_cursor_of_another_listing_is_a_422(user: Account, admin: Account) -> None:
    user.client.post("/posts", json=POST)
    user.client.post("/posts", json=POST)
    cursor = user.client.get("/posts", params={"limit": 1}).json()["next_cursor"]
    check_envelope(admin.client.get("/users", params={"cursor": cursor}), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", "99999999999999999999"])
def test_a_limit_out_of_range_is_a_422(anyone: httpx2.Client, limit: str) -> None:
    answer = check_envelope(anyone.get("/posts", params={"limit": limit}), 422, "VALIDATION_ERROR")
    assert [error["field"] for error in answer["field_errors"]] == ["limit"]


def test_comments_are_written_and_paged(user: Account) -> None:
    post_id = user.client.post("/posts", json=POST).json()["id"]
    path = f"/posts/{post_id}/comments"
    made = user.client.post(path, json={"body": "Well said."})
    assert made.status_code == 201
    assert set(made.json()) == {"id", "post_id", "author_id", "body", "created_at"}
    assert made.json()["post_id"] == post_id
    for number in range(3):
        user.client.post(path, json={"body": f"Comment {number}"})
    first = user.client.get(path, params={"limit": 3}).json()
    assert [item["body"] for item in first["items"]] == ["Comment 2", "Comment 1", "Comment 0"]
    second = user.client.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [item["body"] for item in second["items"]] == ["Well said."]
    assert second["next_cursor"] is None
    check_envelope(user.client.post("/posts/999999999/comments", json={"body": "x"}), 404, "NOT_FOUND")


def test_many_at_once_are_all_written(user: Account) -> None:
    def write(number: int) -> int:
        return int(user.client.post("/posts", json={**POST, "title": f"At once {number}"}).status_code)

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(write, range(40))) == [201] * 40
