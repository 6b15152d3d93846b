"""Everything breaks, and nothing that was acknowledged is lost.

The whole of it is two hundred faults, and takes an hour or two: `make chaos`.
"""

import os

from chaos.account import Account
from chaos.campaign import Campaign
from chaos.installation import Installation
from chaos.plan import plan

# By default a few: a way held and one cut, Valkey, an instance, PostgreSQL and a worker killed.
SEED = int(os.environ.get("HARDPOINT_CHAOS_SEED", "2026"))
FAULTS = int(os.environ.get("HARDPOINT_CHAOS_FAULTS", "6"))
# What the kind or the target of a fault must contain, to look into one thing: "kill postgres".
ONLY = os.environ.get("HARDPOINT_CHAOS_ONLY", "")
_MANY = 20
# In the suite each lasts but a moment.
MOST_SECONDS = 12.0 if FAULTS > _MANY else 1.5


async def test_what_was_acknowledged_is_never_lost_whatever_breaks(
    installation: Installation, account: Account
) -> None:
    account.title = f"{FAULTS} faults, seed {SEED}"
    async with Campaign.begun(installation, account, SEED) as campaign:
        await campaign.run(plan(SEED, FAULTS, most_seconds=MOST_SECONDS, only=ONLY))
        await campaign.finish(patiently=FAULTS > _MANY)
        print(f"\n{campaign.summary()}")  # noqa: T201 - the figures, for who runs it by hand.
