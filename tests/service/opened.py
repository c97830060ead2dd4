"""The upstreams of a configuration, over connections of their own."""

from refresher.clock import ShiftedClock, SystemClock
from refresher.config import Config
from refresher.service.upstreams import Upstream, open_upstream
from refresher.store.backends.memory import MemoryStore
from refresher.store.store import Store


def opened(name: str, config: Config) -> Upstream:
    clock = ShiftedClock(SystemClock())
    limits = Store(MemoryStore(), clock=clock).limits
    return open_upstream(name, config, clock=clock, limits=limits, transport=None, learn=str)
