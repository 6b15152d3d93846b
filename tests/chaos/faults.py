"""What is broken, in an order that a seed decides."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from chaos.installation import INSTANCES, STORES, WORKERS, Installation
from chaos.parts import Part

_DELAY_SECONDS: Final = (0.02, 0.25)
_WORKS_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Fault:
    """One thing that is broken for a while.

    Attributes:
        kind: What is done.
        target: To which part or link.
        seconds: For how long.
        amount: A number between 0 and 1, for what else is at chance.
    """

    kind: str
    target: str
    seconds: float
    amount: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target} for {self.seconds:.1f} s ({self.amount:.2f})"

    @property
    def touches_valkey(self) -> bool:
        """Whether a part may be without Valkey meanwhile, or for a moment afterwards."""
        return "valkey" in self.target

    @property
    def touched(self) -> set[str]:
        """What it breaks, part by part and link by link."""
        if self.kind == "slow":
            return {link for link in LINKS if self.target in (link, link.partition(">")[2])}
        return set(_GROUPS.get(self.target, (self.target,)))

    @property
    def forgets(self) -> bool:
        """Whether Valkey loses its memory."""
        return self.kind == "forget"


async def inflict(here: Installation, fault: Fault) -> None:
    """Break it, wait, and mend it."""
    await _KINDS[fault.kind](here, fault)


async def _pause(here: Installation, fault: Fault) -> None:
    """Stopped by SIGSTOP: connections stand, nothing answers."""
    _signal(here, fault.target, signal.SIGSTOP)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        _signal(here, fault.target, signal.SIGCONT)


async def _throttle(here: Installation, fault: Fault) -> None:
    """A machine that is far too small: stopped most of the time."""
    ends = asyncio.get_running_loop().time() + fault.seconds
    while asyncio.get_running_loop().time() < ends:
        _signal(here, fault.target, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.05 + 0.15 * fault.amount)
        finally:
            _signal(here, fault.target, signal.SIGCONT)
        await asyncio.sleep(_WORKS_SECONDS)


async def _kill(here: Installation, fault: Fault) -> None:
    """SIGKILL, and a start after a while."""
    if fault.target == "postgres":
        await asyncio.to_thread(here.postgres.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(here.postgres.start)
    elif fault.target == "valkey":
        await asyncio.to_thread(here.valkey.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(here.valkey.start)
    else:
        parts = _parts(here, fault.target)
        for part in parts:
            part.kill()
        await asyncio.sleep(fault.seconds)
        for part in parts:
            part.start()


async def _restart(here: Installation, fault: Fault) -> None:
    """Stopped in order, as for an upgrade, and a start after a while."""
    if fault.target == "postgres":
        await asyncio.to_thread(here.postgres.stop)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(here.postgres.start)
    elif fault.target == "valkey":
        await asyncio.to_thread(here.valkey.stop)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(here.valkey.start)
    else:
        parts = _parts(here, fault.target)
        await asyncio.gather(*(part.stop() for part in parts))
        await asyncio.sleep(fault.seconds)
        for part in parts:
            part.start()


async def _forget(here: Installation, fault: Fault) -> None:
    """Valkey killed, and started with nothing."""
    await asyncio.to_thread(here.valkey.kill)
    await asyncio.sleep(fault.seconds)
    here.forget_valkey()
    await asyncio.to_thread(here.valkey.start)


async def _crash(here: Installation, fault: Fault) -> None:
    """A backend of PostgreSQL killed, upon which the server ends all of them and recovers."""
    here.postgres.kill_a_backend()
    await asyncio.sleep(fault.seconds)


async def _cut(here: Installation, fault: Fault) -> None:
    """Connections reset, new ones refused."""
    link = here.links[fault.target]
    await asyncio.to_thread(link.cut)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await asyncio.to_thread(link.heal)


async def _hold(here: Installation, fault: Fault) -> None:
    """Nothing gets through, and nobody is told."""
    link = here.links[fault.target]
    await asyncio.to_thread(link.hold)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await asyncio.to_thread(link.heal, reset=fault.amount < 0.5)


async def _slow(here: Installation, fault: Fault) -> None:
    """Everything takes longer."""
    links = [link for name, link in here.links.items() if fault.target in (name, name.partition(">")[2])]
    shortest, longest = _DELAY_SECONDS
    delay = shortest + fault.amount * (longest - shortest)
    for link in links:
        await asyncio.to_thread(link.slow, delay)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        for link in links:
            await asyncio.to_thread(link.heal)


def _parts(here: Installation, target: str) -> list[Part]:
    return [here.parts[name] for name in _GROUPS.get(target, (target,))]


def _signal(here: Installation, target: str, number: int) -> None:
    if target == "postgres":
        here.postgres.signal_all(number)
    elif target == "valkey":
        here.valkey.signal(number)
    else:
        for part in _parts(here, target):
            part.signal(number)


_KINDS: Final[dict[str, Callable[[Installation, Fault], Awaitable[None]]]] = {
    "pause": _pause,
    "throttle": _throttle,
    "kill": _kill,
    "restart": _restart,
    "forget": _forget,
    "crash": _crash,
    "cut": _cut,
    "hold": _hold,
    "slow": _slow,
}
_GROUPS: Final = {"instances": INSTANCES, "workers": WORKERS}
_STORE_LINKS: Final = [f"{part}>{store}" for part in (*INSTANCES, *WORKERS) for store in STORES]
LINKS: Final = [*_STORE_LINKS, *(f"nginx>{name}" for name in INSTANCES)]
