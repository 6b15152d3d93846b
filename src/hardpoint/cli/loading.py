"""From what an operator typed to settings and an application; faults as lines, never tracebacks."""

import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from uvicorn.importer import ImportFromStringError, import_from_string

from hardpoint.cli.group import fail
from hardpoint.settings import Settings, SettingsError, load_settings

__all__ = ["REFERENCE_APP", "load_app", "settings_or_exit"]

REFERENCE_APP = "hardpoint.service.asgi:create"


def settings_or_exit(**overrides: Any) -> Settings:
    """The settings, or one line for each fault on standard error and exit status 2."""
    try:
        return load_settings(**overrides)
    except SettingsError as error:
        fail(list(error.faults), status=2)


def load_app(target: str | None) -> Starlette:
    """The application `target` names as `module:app`, or the reference service; a factory is called."""
    if target is None:
        from hardpoint.service import create_app

        return create_app(settings_or_exit())
    sys.path.insert(0, str(Path.cwd()))
    try:
        loaded = import_from_string(target)
        app = loaded if isinstance(loaded, Starlette) else loaded()
    except ImportFromStringError as error:
        fail(str(error), status=2)
    if not isinstance(app, Starlette):
        fail(f"{target} is not a FastAPI or Starlette application", status=2)
    return app
