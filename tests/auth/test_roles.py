"""Roles and ownership, as dependencies of a real application whose current user the test chooses."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI

from hardpoint.auth import Roles, UserMixin, current_user, require_owner
from hardpoint.errors import NotFound, Unauthorized, install_error_handlers
from hardpoint.service.users.models import User
from support.asgi import client_of, logged

ROLES = Roles("user", "editor", "admin")


def somebody(role: str = "user", user_id: int = 7) -> User:
    return User(id=user_id, role=role, email="ann@example.com", email_key="ann@example.com")


def app_for(user: UserMixin | None, *routers: APIRouter) -> FastAPI:
    """An application in which `user` acts; nobody when there is none."""
    app = FastAPI()
    install_error_handlers(app)

    async def acting() -> UserMixin:
        if user is None:
            raise Unauthorized
        return user

    app.dependency_overrides[current_user] = acting
    for router in routers:
        app.include_router(router)
    return app


def guarded_by(*names: str) -> APIRouter:
    router = APIRouter()
    require = ROLES.require(*names)

    @router.get("/guarded")
    async def guarded(user: Annotated[Any, Depends(require)]) -> dict[str, int]:
        return {"id": user.id}

    return router


async def status_of(app: FastAPI, path: str = "/guarded") -> int:
    async with client_of(app) as client:
        return (await client.get(path)).status_code


# Declaring


def test_roles_need_a_name() -> None:
    with pytest.raises(ValueError, match="at least one role"):
        Roles()


def test_requiring_no_role_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="nobody could pass"):
        ROLES.require()


@pytest.mark.parametrize("names", [["owner"], ["admin", "owner"], ["Admin"], ["admin "], [""]])
def test_requiring_an_unknown_role_is_refused_at_once_with_those_that_exist(names: list[str]) -> None:
    with pytest.raises(ValueError, match="declared are admin, editor, user"):
        ROLES.require(*names)


# Requiring


@pytest.mark.parametrize(
    ("required", "role", "status"),
    [
        (["admin"], "admin", 200),
        (["admin"], "editor", 403),
        (["admin"], "user", 403),
        (["admin", "editor"], "admin", 200),
        (["admin", "editor"], "editor", 200),
        (["admin", "editor"], "user", 403),
        (["user"], "admin", 403),
        # A role that is stored and was never declared opens nothing.
        (["user", "editor", "admin"], "root", 403),
        (["admin"], "ADMIN", 403),
        (["admin"], "", 403),
        (["admin"], "user,admin", 403),
    ],
)
async def test_any_of_the_named_roles_passes_and_no_other(required: list[str], role: str, status: int) -> None:
    assert await status_of(app_for(somebody(role), guarded_by(*required))) == status


async def test_it_gives_the_user() -> None:
    async with client_of(app_for(somebody("admin", 11), guarded_by("admin"))) as client:
        assert (await client.get("/guarded")).json() == {"id": 11}


async def test_a_missing_role_is_a_403_that_names_no_role_and_is_logged() -> None:
    with logged() as records:
        async with client_of(app_for(somebody(), guarded_by("editor", "admin"))) as client:
            answer = await client.get("/guarded")
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert "admin" not in answer.text
    assert records.fields("forbidden") == [{"user_id": 7, "required": ["admin", "editor"]}]


async def test_nobody_is_a_401_and_not_a_403() -> None:
    assert await status_of(app_for(None, guarded_by("user"))) == 401


async def test_the_role_is_read_at_every_request() -> None:
    user = somebody("admin")
    app = app_for(user, guarded_by("admin"))
    assert await status_of(app) == 200
    user.role = "user"
    assert await status_of(app) == 403


async def test_a_router_can_be_guarded_as_a_whole() -> None:
    router = APIRouter(dependencies=[Depends(ROLES.require("admin"))])

    @router.get("/guarded")
    async def guarded() -> None: ...

    assert await status_of(app_for(somebody("admin"), router)) == 200
    assert await status_of(app_for(somebody("editor"), router)) == 403


# Owning

THINGS = {1: 7, 2: 8}


async def load(thing_id: int) -> dict[str, int]:
    if thing_id not in THINGS:
        raise NotFound
    return {"id": thing_id, "owner_id": THINGS[thing_id]}


def owned(**options: Any) -> APIRouter:
    router = APIRouter()
    owned_thing = require_owner(load, owner_id=lambda thing: thing["owner_id"], **options)

    @router.get("/things/{thing_id}")
    async def thing(found: Annotated[dict[str, int], Depends(owned_thing)]) -> dict[str, int]:
        return found

    return router


async def test_an_owner_gets_the_thing() -> None:
    async with client_of(app_for(somebody(), owned())) as client:
        assert (await client.get("/things/1")).json() == {"id": 1, "owner_id": 7}


async def test_what_is_somebody_elses_answers_as_what_does_not_exist() -> None:
    with logged() as records:
        async with client_of(app_for(somebody(), owned())) as client:
            foreign, absent = await client.get("/things/2"), await client.get("/things/3")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.json() == absent.json()
    assert foreign.headers == absent.headers
    assert records.fields("forbidden") == [{"user_id": 7}]


async def test_what_may_be_read_anyway_answers_403() -> None:
    app = app_for(somebody(), owned(hide=False))
    assert await status_of(app, "/things/2") == 403
    assert await status_of(app, "/things/3") == 404


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("editor", 404), ("user", 404), ("", 404)])
async def test_a_named_role_passes_without_owning(role: str, status: int) -> None:
    assert await status_of(app_for(somebody(role), owned(roles=["admin"])), "/things/2") == status


async def test_no_role_passes_without_owning_unless_named() -> None:
    for role in ("user", "editor", "admin"):
        assert await status_of(app_for(somebody(role), owned()), "/things/2") == 404


async def test_nobody_is_not_told_whether_a_thing_exists() -> None:
    app = app_for(None, owned())
    assert await status_of(app, "/things/1") == 401
    assert await status_of(app, "/things/3") == 401
