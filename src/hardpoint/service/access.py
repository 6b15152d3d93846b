"""Who may do what here: the roles that exist, and the aliases with which routes ask for a user."""

from typing import Annotated

from fastapi import Depends
from hardpoint.auth import Roles, current_user, optional_user

from hardpoint.service.users.models import User

__all__ = ["CurrentUser", "OptionalUser", "require_role", "roles"]

roles = Roles("user", "editor", "admin")
require_role = roles.require

CurrentUser = Annotated[User, Depends(current_user)]
"""The user who asks."""

OptionalUser = Annotated[User | None, Depends(optional_user)]
"""The user who asks, or nobody."""
