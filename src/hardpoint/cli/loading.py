"""From what an operator typed to settings and an application; faults as lines, never tracebacks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from uvicorn.importer import ImportFromStringError, import_from_string

from hardpoint.cli.group import fail
from hardpoint.cli.target import service, target
from hardpoint.errors import ServiceUnavailable
from hardpoint.middleware import StackOrderError
from hardpoint.settings import Settings, SettingsError

__all__ = ["faults_told", "load_app", "prepare_database", "settings_or_exit"]


def settings_or_exit(load: Callable[..., Settings] | None = None, **overrides: Any) -> Settings:
    """The service's settings, or one line for each fault on standard error and exit status 2.

    Args:
        load: What reads them, if not the service's own settings are meant.
        **overrides: Field values that win over the environment.
    """
    try:
        return (load or service().load_settings)(**overrides)
    except SettingsError as error:
        fail(list(error.faults), status=2)


def load_app(name: str | None) -> Starlette:
    """The application that `name` names as `module:app`, or the service; a factory is called."""
    if name is None:
        settings = settings_or_exit()
        with faults_told():
            return service().create_app(settings)
    sys.path.insert(0, str(Path.cwd()))
    try:
        loaded = import_from_string(name)
        app = loaded() if callable(loaded) and not isinstance(loaded, Starlette) else loaded
    except ImportFromStringError as error:
        fail(str(error), status=2)
    except StackOrderError as error:
        fail([f"wrong: {fault}" for fault in error.faults], status=1)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            # From inside of the factory; its author wants to see where.
            raise
        fail(f"{name} takes arguments, and a factory is called without any", status=2)
    if not isinstance(app, Starlette):
        fail(f"{name} is not a FastAPI or Starlette application", status=2)
    return app


@contextmanager
def faults_told() -> Iterator[None]:
    """End with a line for what an operator can mend, never with a traceback: a setting, the database, its schema."""
    from hardpoint.db.migrations import UnknownRevision

    try:
        yield
    except SettingsError as error:
        fail(list(error.faults), status=2)
    except UnknownRevision as error:
        fail(f"{error}. Install the version that it belongs to", status=1)
    except ServiceUnavailable:
        fail("The database cannot be reached", status=1)


async def prepare_database(settings: Settings) -> None:
    """Migrate the service's own SQLite file; refuse to go on with an old schema anywhere else."""
    migrations = service().migrations()
    async with service().open_engine(settings) as engine:
        if settings.is_embedded_database:
            await migrations.upgrade(engine)
            return
        await migrations.require_known(engine)
        if not await migrations.is_current(engine):
            remedy = f"Run: {target().name} db upgrade"
            fail(["The database's schema is not the one that this version needs.", remedy], status=1)
