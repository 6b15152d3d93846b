"""Column types that behave alike on every back end."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, Integer
from sqlalchemy.types import TypeDecorator

__all__ = ["BigId", "UTCDateTime"]

BigId: Final = BigInteger().with_variant(Integer(), "sqlite")
"""An id of 64 bits. PostgreSQL's `integer` ends at two thousand million, and asking for more than that is an error in
its driver; SQLite's has 64 bits, and counts up by itself under this name alone."""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware `datetime`, stored and returned in UTC with its microseconds.

    SQLite keeps no time zone and would return naive values; PostgreSQL would return the session's zone. A naive value
    is refused with a `ValueError` when it is bound, because nobody can know which moment it means.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """`datetime`, which a decorator does not take over from its `impl`."""
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To what the driver stores: naive UTC on SQLite, which then sorts as text; aware UTC elsewhere."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A naive datetime was given where an aware one is needed")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature.
        """From what the driver returns to an aware UTC `datetime`."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
