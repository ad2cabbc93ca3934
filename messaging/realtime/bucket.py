"""Token buckets."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Bucket:
    """rate: tokens a second; burst: how many it holds, full at first."""

    __slots__ = ("_at", "_burst", "_clock", "_left", "_rate")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self) -> bool:
        """Whether there was a token left."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Buckets:
    """A bucket for each key, of those that came last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, key: Hashable, rate: float, burst: float) -> bool:
        """Whether there was a token left in the key's bucket; rate and burst are those of a new one."""
        bucket = self._known.get(key)
        if bucket is None:
            bucket = self._known[key] = Bucket(rate, burst)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return bucket.take()
