"""Coming back, over and over, while much is published: nothing is missed and nothing comes twice."""

import asyncio
import random
from typing import Any

import pytest

from realtime.serving import Bench
from support.live import live

pytestmark = pytest.mark.anyio

MESSAGES, CLIENTS = 400, 20


class Returner:
    """A client that reads a little, leaves in any way, and comes back to either instance with its place."""

    def __init__(self, number: int, instances: list[Bench]) -> None:
        self._chance = random.Random(number)
        self._path = f"/ws?token={number}/{number}"
        self._instances = instances
        self.data: list[Any] = []
        self.returns = 0

    async def read_all(self, start: int) -> None:
        place = start
        while len(self.data) < MESSAGES:
            url = self._chance.choice(self._instances).url
            # Without a bound, or the library waits ten seconds for who leaves with messages unread.
            async with live(url, self._path, max_queue=None) as client:
                answer = await client.subscribe("long", place)
                assert answer == {"type": "subscribed", "channel": "long", "offset": place, "recovered": True}
                for _ in range(min(self._chance.randint(0, 60), MESSAGES - len(self.data))):
                    message = await client.receive()
                    assert message["offset"] == place + 1
                    place = message["offset"]
                    self.data.append(message["data"])
                if self._chance.random() < 0.5:
                    client.connection.transport.abort()
            self.returns += 1


async def test_a_storm_of_messages_and_of_clients_that_come_back(instances: list[Bench]) -> None:
    start = (await instances[0].hub.store.read("long", None)).end
    returners = [Returner(number, instances) for number in range(CLIENTS)]
    reading = [asyncio.ensure_future(returner.read_all(start)) for returner in returners]
    for number in range(MESSAGES):
        await instances[number % 2].hub.publish("long", number)
        if number % 10 == 0:
            await asyncio.sleep(0.01)
    await asyncio.gather(*reading)
    assert all(returner.data == list(range(MESSAGES)) for returner in returners)
    assert sum(returner.returns for returner in returners) > 5 * CLIENTS
    for bench in instances:
        await bench.until(lambda hub=bench.hub: hub.connections == 0)
        assert bench.hub.subscriptions == 0
