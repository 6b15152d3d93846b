"""The reference service: users, posts, comments; every part of the kit once, wired as a user would wire it."""

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
