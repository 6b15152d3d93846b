import httpx2
import pytest

from support.service import Account, Service, check_envelope


def test_a_user_changes_their_own_name_and_nothing_else(user: Account) -> None:
    assert user.client.patch("/users/me", json={"name": "Ann B."}).json()["name"] == "Ann B."
    for forbidden in ["role", "is_active", "email_verified", "id", "email", "password_hash"]:
        answer = user.client.patch("/users/me", json={forbidden: "admin"})
        check_envelope(answer, 422, "VALIDATION_ERROR")
    assert user.client.get("/users/me").json()["role"] == "user"


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_other_users_are_for_admins_alone(
    method: str, user: Account, other: Account, anyone: httpx2.Client, editor: Account
) -> None:
    body = {"name": "x"} if method == "PATCH" else None
    path = f"/users/{other.id}"
    check_envelope(anyone.request(method, path, json=body), 401, "INVALID_TOKEN")
    check_envelope(user.client.request(method, path, json=body), 403, "FORBIDDEN")
    check_envelope(editor.client.request(method, path, json=body), 403, "FORBIDDEN")
    # Whether there is such a user is not to be seen either.
    check_envelope(user.client.request(method, "/users/999999", json=body), 403, "FORBIDDEN")


def test_the_list_of_users_is_for_admins_alone(user: Account, admin: Account, anyone: httpx2.Client) -> None:
    check_envelope(anyone.get("/users"), 401, "INVALID_TOKEN")
    check_envelope(user.client.get("/users"), 403, "FORBIDDEN")
    page = admin.client.get("/users", params={"limit": 100}).json()
    found = next(item for item in page["items"] if item["id"] == user.id)
    assert set(found) == {"id", "email", "name", "role", "is_active", "email_verified", "created_at"}


def test_an_admin_changes_a_role_and_it_holds_with_the_next_request(user: Account, admin: Account) -> None:
    check_envelope(user.client.get("/users"), 403, "FORBIDDEN")
    assert admin.client.patch(f"/users/{user.id}", json={"role": "admin"}).json()["role"] == "admin"
    assert user.client.get("/users").status_code == 200
    assert admin.client.patch(f"/users/{user.id}", json={"role": "user"}).json()["role"] == "user"
    check_envelope(user.client.get("/users"), 403, "FORBIDDEN")
    check_envelope(admin.client.patch(f"/users/{user.id}", json={"role": "god"}), 422, "VALIDATION_ERROR")


def test_a_disabled_user_is_out_at_once_and_cannot_come_back(service: Service, user: Account, admin: Account) -> None:
    assert admin.client.patch(f"/users/{user.id}", json={"is_active": False}).json()["is_active"] is False
    check_envelope(user.client.get("/users/me"), 401, "INVALID_TOKEN")
    with service.client() as client:
        login = {"username": user.email, "password": "correct horse battery staple"}
        check_envelope(client.post("/auth/login", data=login), 401, "INVALID_CREDENTIALS")


def test_a_deleted_user_is_gone_with_everything(user: Account, admin: Account) -> None:
    post = user.client.post("/posts", json={"title": "T", "body": "B"}).json()
    assert admin.client.delete(f"/users/{user.id}").status_code == 204
    check_envelope(user.client.get("/users/me"), 401, "INVALID_TOKEN")
    check_envelope(admin.client.get(f"/users/{user.id}"), 404, "NOT_FOUND")
    check_envelope(admin.client.get(f"/posts/{post['id']}"), 404, "NOT_FOUND")
    check_envelope(admin.client.delete(f"/users/{user.id}"), 404, "NOT_FOUND")


def test_the_last_admin_stays(admin: Account) -> None:
    for answer in [
        admin.client.delete(f"/users/{admin.id}"),
        admin.client.patch(f"/users/{admin.id}", json={"role": "user"}),
        admin.client.patch(f"/users/{admin.id}", json={"is_active": False}),
    ]:
        check_envelope(answer, 409, "LAST_ADMIN")
    assert admin.client.get("/users/me").json()["role"] == "admin"


@pytest.mark.parametrize("user_id", ["0", "-1", "x", "9223372036854775808", "1e3", "%00", "1.5"])
def test_an_id_that_cannot_be_one_is_a_422(admin: Account, user_id: str) -> None:
    check_envelope(admin.client.get(f"/users/{user_id}"), 422, "VALIDATION_ERROR")
