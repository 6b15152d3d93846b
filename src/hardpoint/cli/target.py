"""Whose command it is: `hardpoint`, which runs the reference service, or that of a project of `hardpoint new`."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import click

from hardpoint import __version__
from hardpoint.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from fastapi import FastAPI
    from sqlalchemy.ext.asyncio import AsyncEngine

    from hardpoint.auth import Auth, KeySet
    from hardpoint.db.migrations import Migrations
    from hardpoint.jobs.durable import DurableJobs
    from hardpoint.lifespan import Lifespan
    from hardpoint.ratelimit import Limiter

__all__ = ["HARDPOINT", "Target", "service", "target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A service, and the command that runs it.

    Attributes:
        name: The command.
        version: What `--version` says.
        package: The service's package, which has what `ServicePackage` lists.
        module: What `python -m` runs as this command.
    """

    name: str
    version: str
    package: str
    module: str

    @property
    def factory(self) -> str:
        """What makes the application, as uvicorn imports it."""
        return f"{self.package}.asgi:create"


class ServicePackage(Protocol):
    """What the commands use of a service's package; `hardpoint.service` has it all."""

    @property
    def PAGES(self) -> "Mapping[str, str]": ...  # noqa: N802 - the package's constant.
    @property
    def NewAccount(self) -> Any: ...  # noqa: N802 - the package's class.
    def create_app(self, settings: Any) -> "FastAPI": ...
    def load_keys(self, settings: Any) -> "KeySet": ...
    def load_secret(self, settings: Any) -> bytes: ...
    def load_settings(self, **overrides: Any) -> Settings: ...
    def make_auth(self, settings: Any, limiter: "Limiter") -> "Auth[Any]": ...
    def make_lifespan(self, settings: Any, *, serves: bool = True, works: bool | None = None) -> "Lifespan": ...
    def migrations(self) -> "Migrations": ...
    def open_engine(self, settings: Any) -> "AbstractAsyncContextManager[AsyncEngine]": ...
    def open_jobs(self, settings: Any) -> "AbstractAsyncContextManager[DurableJobs]": ...


HARDPOINT: Final = Target(name="hardpoint", version=__version__, package="hardpoint.service", module="hardpoint.cli")


def target() -> Target:
    """Whose command runs."""
    found = click.get_current_context().find_object(Target)
    if found is None:
        raise LookupError("No command runs")
    return found


def service() -> ServicePackage:
    """The package of the service whose command runs, imported when it is first needed."""
    return cast("ServicePackage", import_module(target().package))
