"""asyncpg and psycopg under hardpoint.db, side by side on one PostgreSQL: what a session costs with each.

    make bench-drivers

The drivers take turns, round by round, in one process on uvloop. What is told is the median over the rounds of
asyncpg's operations a second, and of its processor time for each operation, as a share of psycopg's in the same round:
the first also has the server's part and the machine's mood in it, the second is this side's alone.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hardpoint.db import Database, open_database

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.databases import PostgresServer  # noqa: E402 - the tests' servers, found by the line above.

DRIVERS = ("asyncpg", "psycopg")
ROWS = 1_000
PAGE = 50


class Base(DeclarativeBase): ...


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(200))


async def read_one(database: Database, number: int) -> None:
    async with database.session() as session:
        assert await session.get(Note, number % ROWS + 1) is not None


async def read_page(database: Database, number: int) -> None:
    async with database.session() as session:
        statement = select(Note).where(Note.id > number % (ROWS - PAGE)).order_by(Note.id).limit(PAGE)
        assert len((await session.scalars(statement)).all()) == PAGE


async def write(database: Database, number: int) -> None:
    async with database.session() as session:
        session.add(Note(text=f"Note {number}"))


Operation = Callable[[Database, int], Awaitable[None]]
OPERATIONS: dict[str, Operation] = {"a row by its key": read_one, f"{PAGE} rows": read_page, "a row written": write}


async def measured(database: Database, operation: Operation, seconds: float, at_once: int) -> tuple[float, float]:
    """Operations a second, and this process's seconds of processor time for each."""
    done = 0
    ends = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            done += 1
            await operation(database, done)

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return done / (time.perf_counter() - began), (time.process_time() - used) / done


async def compare(url: str, rounds: int, seconds: float) -> None:
    async with AsyncExitStack() as stack:
        databases = {
            driver: await stack.enter_async_context(open_database(url.replace("asyncpg", driver))) for driver in DRIVERS
        }
        await databases["asyncpg"].create_tables(Base.metadata)
        async with databases["asyncpg"].session() as session:
            session.add_all(Note(text=f"Note {number}") for number in range(ROWS))
        print(f"{'':>18} {'at once':>8} {'asyncpg / psycopg: per second':>31} {'processor time':>15}")
        for name, operation in OPERATIONS.items():
            for at_once in (1, 10):
                found: dict[str, list[tuple[float, float]]] = {driver: [] for driver in DRIVERS}
                for _ in range(rounds + 1):
                    for driver, database in databases.items():
                        found[driver].append(await measured(database, operation, seconds, at_once))
                # The first round opens connections and fills caches.
                pairs = list(zip(*(found[driver][1:] for driver in DRIVERS), strict=True))
                speed = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
                cost = statistics.median(ours[1] / theirs[1] for ours, theirs in pairs)
                print(f"{name:>18} {at_once:>8} {speed:>31.2f} {cost:>15.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each driver in each round")
    options = parser.parse_args()
    with PostgresServer.started() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(compare(server.create_database(), options.rounds, options.seconds))


if __name__ == "__main__":
    main()
