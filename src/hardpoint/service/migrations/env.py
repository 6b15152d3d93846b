"""Alembic's entry; see `hardpoint.db.migrations`."""

from hardpoint.db.migrations import run_migrations

from hardpoint.service.models import Base

run_migrations(Base.metadata)
