"""Writes that nobody waits for: gathered in the process, done in batches by one thread."""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

import structlog

from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

T = TypeVar("T")
_PAUSE = 1.0
_FAREWELL = 2.0


class Background(Generic[T]):
    """Items on their way, from any thread. Bounded: while a store is away the newest `most` wait.

    A process that is killed takes with it what waits, `linger` seconds' worth while all is well; one that ends writes
    it first, unless that takes two seconds. A write that raises a store's error is repeated; any other is logged and
    its items are gone.
    """

    def __init__(self, name: str, write: Callable[[Sequence[T]], None], linger: float, batch: int, most: int) -> None:
        self._name, self._write, self._linger, self._batch = name, write, linger, batch
        self._most = most
        self._waiting: deque[T] = deque(maxlen=most)
        self._wake, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, items: Iterable[T]) -> None:
        """Returns at once."""
        with self._lock:
            self._waiting.extend(items)
            self._idle.clear()
            self._wake.set()
        # A process that was forked has no thread of its own yet.
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def flush(self, limit: float) -> bool:
        """Wait until all is written, `limit` seconds at most; whether it is."""
        return self._idle.wait(limit)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                atexit.register(self.flush, _FAREWELL)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(self._linger)
            self._wake.clear()
            while self._waiting:
                self._write_some()
            with self._lock:
                if not self._waiting:
                    self._idle.set()

    def _write_some(self) -> None:
        items = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
        try:
            self._write(items)
        except STORE_ERRORS as error:
            log.warning("waiting for a store", work=self._name, items=len(items), error=type(error).__name__)
            with self._lock:
                self._waiting.extendleft(islice(reversed(items), self._most - len(self._waiting)))
            time.sleep(_PAUSE)
        except Exception:
            log.exception("items are lost", work=self._name, items=len(items))
