"""What auth needs in the lifespan, in one call."""

from typing import Any

from sqlalchemy import URL

from hardpoint.arguments import check_argument
from hardpoint.auth.core import Auth
from hardpoint.db import CursorSigner, Database, open_database
from hardpoint.lifespan import Lifespan, Resource, warm_up

__all__ = ["auth_lifespan"]


def auth_lifespan(
    auth: Auth[Any],
    database_url: str | URL,
    *further: Resource[Any],
    create_tables: bool = False,
) -> Lifespan:
    """A lifespan with `auth`, `database` and `cursor_signer`, and whatever further resources there are.

    For what differs from that, write the `Lifespan` out: it is these resources and no more.

    Args:
        auth: Over the application's models.
        database_url: Where they are.
        *further: Opened after these, closed before.
        create_tables: Whether to make the tables that are missing when it starts; for first steps, because it does not
            change those that are there, as migrations do.

    Raises:
        ValueError: Tables are to be made, and `auth` has a store instead of models.
        TypeError: `auth` is no `Auth`.
    """
    check_argument("auth", auth, Auth, "Auth(...), and the database's URL comes after it")
    database = Resource("database", lambda _: open_database(database_url), check=Database.ping)
    resources: list[Resource[Any]] = [database]
    if create_tables:
        if auth.models is None:
            raise ValueError("Only the tables of models can be made: create_tables=False")
        metadata = auth.models.metadata
        resources.append(warm_up("tables", lambda opened: opened[database].create_tables(metadata)))
    signer = Resource.constant("cursor_signer", CursorSigner(auth.derived_key("cursors")))
    return Lifespan(*resources, signer, Resource.constant("auth", auth), *further)
