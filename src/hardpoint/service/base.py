"""What the service's models and schemas have in common."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, StringConstraints
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

__all__ = ["Base", "Id", "Line", "Request", "Resource", "Text", "Timestamp"]

_MAX_ID: Final = 2**63 - 1


class Base(DeclarativeBase):
    """The declarative base of every table, with names for constraints, which migrations need to change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        },
    )


class Request(BaseModel):
    """A request body: unknown members are refused, so that nobody sets a role by adding a field."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Resource(BaseModel):
    """A response body, read from a model's attributes; only what is declared leaves the service."""

    model_config = ConfigDict(from_attributes=True)


def _utc_z(value: datetime) -> str:
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _printable_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("Must not contain control characters")
    return value


def _without_nul(value: str) -> str:
    # PostgreSQL's text cannot hold it.
    if "\x00" in value:
        raise ValueError("Must not contain NUL characters")
    return value


Timestamp = Annotated[datetime, PlainSerializer(_utc_z, return_type=str, when_used="json")]
"""A time in ISO 8601, UTC, with `Z`."""

Id = Annotated[int, Path(ge=1, le=_MAX_ID, description="The resource's id")]
"""An id in a path; larger than the database's 64 bits is a 422, not a failed query."""

Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_printable_line)
]
"""One line of text: a title, a name."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(_without_nul)]
"""Text of several paragraphs."""
