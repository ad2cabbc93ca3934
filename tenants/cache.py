"""What a process remembers for a moment, so that a busy process does not ask SQL on every request."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values for `seconds` after their load began, `size` of them at most. Threads may share it."""

    def __init__(self, seconds: float, size: int = 10_000):
        self.seconds, self.size = seconds, size
        self._found: dict[K, tuple[float, V]] = {}

    def get(self, key: K, load: Callable[[], V]) -> V:
        if (found := self._found.get(key)) and found[0] > time.monotonic():
            return found[1]
        deadline = time.monotonic() + self.seconds
        value = load()
        if len(self._found) >= self.size:
            self._found.clear()
        self._found[key] = (deadline, value)
        return value

    def has(self, key: K) -> bool:
        """Whether get would answer without loading, for one more moment at least."""
        found = self._found.get(key)
        return found is not None and found[0] > time.monotonic() + 0.01

    def forget(self, key: K) -> None:
        self._found.pop(key, None)

    def clear(self) -> None:
        self._found.clear()
