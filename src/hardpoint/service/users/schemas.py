"""Users as they come in and go out."""

from typing import Literal

from hardpoint.auth import EmailAddress, Password
from hardpoint.errors import FieldError, ValidationFailed
from pydantic import ConfigDict, Field, ValidationError, model_validator

from hardpoint.service.base import Line, Request, Resource, Timestamp

__all__ = ["NewAccount", "OwnChanges", "Role", "UserChanges", "UserOut"]

Role = Literal["user", "editor", "admin"]


class UserOut(Resource):
    """A user."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 7,
                    "email": "ann@example.com",
                    "name": "Ann",
                    "role": "user",
                    "is_active": True,
                    "email_verified": True,
                    "created_at": "2026-11-23T10:00:00.000000Z",
                },
            ],
        },
    )

    id: int
    email: str
    name: str | None
    role: Role
    is_active: bool
    email_verified: bool
    created_at: Timestamp


class OwnChanges(Request):
    """What to change about oneself; what is left out stays. A new password needs the current one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Ann B."}]})

    name: Line | None = None
    password: Password | None = Field(default=None, description="The new password; ends all other sessions")
    current_password: Password | None = None

    @model_validator(mode="after")
    def _needs_the_current_password(self) -> "OwnChanges":
        if self.password is not None and self.current_password is None:
            raise ValueError("A new password needs current_password")
        return self


class UserChanges(Request):
    """What an admin changes about a user; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "editor"}]})

    name: Line | None = None
    role: Role | None = None
    is_active: bool | None = None


class NewAccount(Request):
    """An account that an operator makes."""

    email: EmailAddress
    role: Role
    name: Line | None = None

    @classmethod
    def parse(cls, **values: object) -> "NewAccount":
        """The account with these values.

        Raises:
            ValidationFailed: At least one of them does not hold.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValidationFailed(
                *(
                    FieldError(field=str(item["loc"][0]), message=item["msg"], code=item["type"])
                    for item in error.errors(include_input=False, include_url=False)
                ),
            ) from None
