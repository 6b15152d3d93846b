"""SQLAlchemy 2 sessions with the right lifetimes, keyset pagination, locks and types.

`hardpoint.db.migrations`, which runs Alembic, is imported by its own name.
"""

from hardpoint.db.engine import create_engine
from hardpoint.db.locks import transaction_lock
from hardpoint.db.pagination import CursorSigner, Page, PageParams, PageRequest, page_params
from hardpoint.db.session import Database, LazySession, PoolUsage, Session, get_database, open_database, session
from hardpoint.db.types import BigId, UTCDateTime

__all__ = [
    "BigId",
    "CursorSigner",
    "Database",
    "LazySession",
    "Page",
    "PageParams",
    "PageRequest",
    "PoolUsage",
    "Session",
    "UTCDateTime",
    "create_engine",
    "get_database",
    "open_database",
    "page_params",
    "session",
    "transaction_lock",
]
