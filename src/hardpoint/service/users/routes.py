"""The routes of users."""

from typing import Annotated

from fastapi import APIRouter, Depends
from hardpoint.auth import Auth, Client, Principal, client, current_principal, get_auth
from hardpoint.db import Page, PageParams, Session
from hardpoint.errors import Conflict, Forbidden, InvalidToken, NotFound, RateLimited, ValidationFailed, responses
from hardpoint.routing import StrictCompiledRoute

from hardpoint.service.access import CurrentUser, require_role
from hardpoint.service.base import Id
from hardpoint.service.users.models import User
from hardpoint.service.users.schemas import OwnChanges, UserChanges, UserOut
from hardpoint.service.users.service import LAST_ADMIN, Users

__all__ = ["router"]


async def users(session: Session, auth: Annotated[Auth[User], Depends(get_auth)]) -> Users:
    """The service of this request."""
    return Users(session, auth)


UsersService = Annotated[Users, Depends(users)]

router = APIRouter(
    prefix="/users",
    tags=["users"],
    route_class=StrictCompiledRoute,
    responses=responses(InvalidToken, Forbidden, ValidationFailed),
)
admin = [Depends(require_role("admin"))]


@router.get("/me", summary="Oneself")
async def read_own_user(user: CurrentUser) -> UserOut:
    """The user of the access token or cookie."""
    return UserOut.model_validate(user)


@router.patch("/me", summary="Change oneself", responses=responses(RateLimited))
async def change_own_user(
    changes: OwnChanges,
    user: CurrentUser,
    principal: Annotated[Principal, Depends(current_principal)],
    own_client: Annotated[Client, Depends(client)],
    service: UsersService,
) -> UserOut:
    """A new password needs the current one, and ends all other sessions."""
    changed = await service.change_own(user, changes, session_id=principal.session.id, client=own_client)
    return UserOut.model_validate(changed)


@router.get("", dependencies=admin, summary="All users")
async def list_users(service: UsersService, session: Session, page: PageParams) -> Page[UserOut]:
    """Newest first."""
    return await page.of(UserOut, session, service.all(), order_by=(User.created_at.desc(), User.id.desc()))


@router.get("/{user_id}", dependencies=admin, summary="A user", responses=responses(NotFound))
async def read_user(user_id: Id, service: UsersService) -> UserOut:
    """The user with this id."""
    return UserOut.model_validate(await service.get(user_id))


@router.patch(
    "/{user_id}", dependencies=admin, summary="Change a user", responses=responses(NotFound, (Conflict, LAST_ADMIN))
)
async def change_user(user_id: Id, changes: UserChanges, service: UsersService) -> UserOut:
    """A disabled user's sessions end at once; the last admin stays one."""
    return UserOut.model_validate(await service.change(user_id, changes))


@router.delete(
    "/{user_id}",
    dependencies=admin,
    status_code=204,
    summary="Delete a user",
    responses=responses(NotFound, (Conflict, LAST_ADMIN)),
)
async def delete_user(user_id: Id, service: UsersService) -> None:
    """With the user go their posts, comments and sessions; the last admin stays."""
    await service.delete(user_id)
