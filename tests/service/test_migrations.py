"""The migrations make the tables that the models describe, and can be taken back."""

from pathlib import Path

from hardpoint.db.migrations import Migrations

import hardpoint.service
from hardpoint.service import open_engine
from hardpoint.service.settings import Settings

FOLDER = Path(hardpoint.service.__file__).parent / "migrations"


async def test_the_migrations_make_what_the_models_say(database_url: str, tmp_path: Path) -> None:
    migrations = Migrations(FOLDER)
    async with open_engine(Settings(_env_file=None, database_url=database_url, data_dir=tmp_path)) as engine:
        await migrations.upgrade(engine)
        await migrations.check(engine)
        await migrations.downgrade(engine, "base")
        await migrations.upgrade(engine)
