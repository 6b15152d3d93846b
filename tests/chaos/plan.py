"""Which faults, in which order, for how long: a seed decides."""

import random
from typing import Final

from chaos.faults import LINKS, Fault
from chaos.installation import INSTANCES, STORES, WORKERS

_SHORT_SECONDS: Final = (0.3, 3.0)
_MEDIUM_SECONDS: Final = (3.0, 12.0)
# Longer than any time-out, retry or request.
_LONG_SECONDS: Final = (35.0, 50.0)
_LONG: Final = 0.06
"""The share of those."""
_TOGETHER: Final = 0.15
"""The share of faults that come while another one lasts."""
# How often each comes in a deck; its targets take turns at chance.
_DECK: Final[list[tuple[int, str, list[str]]]] = [
    (2, "pause", ["postgres"]),
    (2, "pause", ["valkey"]),
    (2, "pause", [*INSTANCES, *WORKERS]),
    (1, "throttle", ["postgres", "valkey"]),
    (2, "kill", ["postgres"]),
    (2, "kill", ["valkey"]),
    (3, "kill", [*INSTANCES]),
    (3, "kill", [*WORKERS]),
    (1, "kill", ["instances", "workers"]),
    (2, "restart", ["postgres", "valkey"]),
    (2, "restart", [*INSTANCES, *WORKERS]),
    (1, "forget", ["valkey"]),
    (1, "crash", ["postgres"]),
    (4, "cut", LINKS),
    (4, "hold", LINKS),
    (1, "slow", [*STORES]),
    (2, "slow", LINKS),
]


def plan(seed: int, count: int, *, most_seconds: float = 12.0, only: str = "") -> list[list[Fault]]:
    """So many rounds of one fault, or of two at once, each kind as often as the deck says.

    Args:
        seed: The same seed gives the same plan.
        count: How many faults there are in all.
        most_seconds: How long a fault lasts at most; with more than 3, some last longer than any retry, up to 50.
        only: What the kind or the target must contain, to look into one thing.
    """
    chance = random.Random(seed)
    faults: list[Fault] = []
    while len(faults) < count:
        deck = [(kind, targets) for times, kind, targets in _DECK for _ in range(times)]
        chance.shuffle(deck)
        deck = [
            (kind, fitting) for kind, targets in deck if (fitting := [to for to in targets if only in f"{kind} {to}"])
        ]
        for kind, targets in deck:
            seconds = _duration(chance, kind, most_seconds)
            faults.append(Fault(kind, chance.choice(targets), seconds, chance.random()))
    rounds: list[list[Fault]] = []
    for fault in faults[:count]:
        last = rounds[-1] if rounds else []
        if len(last) == 1 and chance.random() < _TOGETHER and not last[0].touched & fault.touched:
            last.append(fault)
        else:
            rounds.append([fault])
    return rounds


def _duration(chance: random.Random, kind: str, most_seconds: float) -> float:
    if most_seconds > _MEDIUM_SECONDS[0] and kind in {"pause", "kill", "cut", "hold"} and chance.random() < _LONG:
        return chance.uniform(*_LONG_SECONDS)
    usual = chance.choice([_SHORT_SECONDS, _SHORT_SECONDS, _MEDIUM_SECONDS])
    return min(most_seconds, chance.uniform(*usual))
