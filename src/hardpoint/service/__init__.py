"""The reference service: users, posts, comments; every part of the kit once, wired as a user would wire it."""

from hardpoint.service.app import create_app
from hardpoint.service.secret import load_keys, load_secret
from hardpoint.service.users.schemas import NewAccount
from hardpoint.service.wiring import make_auth, make_lifespan, migrations, open_engine, open_jobs

__all__ = [
    "NewAccount",
    "create_app",
    "load_keys",
    "load_secret",
    "make_auth",
    "make_lifespan",
    "migrations",
    "open_engine",
    "open_jobs",
]
