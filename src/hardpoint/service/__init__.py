"""The reference service: users, posts, comments; every part of the kit once, wired as a user would wire it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hardpoint.service.app import create_app
    from hardpoint.service.database import migrations, open_engine
    from hardpoint.service.description import PAGES
    from hardpoint.service.jobs.running import open_jobs  # new: jobs
    from hardpoint.service.secret import load_keys, load_secret
    from hardpoint.service.settings import load_settings
    from hardpoint.service.users.schemas import NewAccount
    from hardpoint.service.wiring import make_auth, make_lifespan

__all__ = [
    "PAGES",
    "NewAccount",
    "create_app",
    "load_keys",
    "load_secret",
    "load_settings",
    "make_auth",
    "make_lifespan",
    "migrations",
    "open_engine",
    "open_jobs",  # new: jobs
]

_MODULES: Final = {
    "PAGES": "description",
    "NewAccount": "users.schemas",
    "create_app": "app",
    "load_keys": "secret",
    "load_secret": "secret",
    "load_settings": "settings",
    "make_auth": "wiring",
    "make_lifespan": "wiring",
    "migrations": "database",
    "open_engine": "database",
    "open_jobs": "jobs.running",  # new: jobs
}


def __getattr__(name: str) -> Any:
    # Imported when it is asked for (PEP 562): a command of an operator needs little, and should not wait for the rest.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
