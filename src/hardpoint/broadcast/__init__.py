"""Telling every process something, now: publish and subscribe, in memory and over Valkey or Redis.

At most once, and to who listens at the moment: what must not be lost belongs into the database, a job, or a channel
with a history. `hardpoint.broadcast.valkey` is imported by its own name, because it needs the extra `redis`.
"""

from hardpoint.broadcast.base import Broadcast, Receiver
from hardpoint.broadcast.memory import MemoryBroadcast

__all__ = ["Broadcast", "MemoryBroadcast", "Receiver"]
