"""Writes that nobody waits for."""

import subprocess
import sys
import threading
from collections.abc import Sequence

from sprayer_project.background import Background
from sprayer_project.errors import StoreUnavailable

LIMIT = 30.0


def test_items_of_many_threads_are_written_once_and_each_threads_in_its_order() -> None:
    written: list[tuple[int, int]] = []
    work = Background[tuple[int, int]]("test", written.extend, 0.001, 10, 10_000)

    def add(number: int) -> None:
        for item in range(100):
            work.add([(number, item)])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert work.flush(LIMIT)
    assert len(written) == 400
    for number in range(4):
        assert [item for thread, item in written if thread == number] == list(range(100))


def test_what_a_store_did_not_take_is_written_when_it_is_back() -> None:
    written: list[int] = []
    answers = [StoreUnavailable("Redis")]

    def write(items: Sequence[int]) -> None:
        if answers:
            raise answers.pop()
        written.extend(items)

    work = Background[int]("test", write, 0, 10, 100)
    work.add([1, 2])
    work.add([3])
    assert work.flush(LIMIT)
    assert written == [1, 2, 3]


def test_a_bug_costs_its_items_alone_and_only_the_newest_wait() -> None:
    written: list[int] = []
    began, go_on = threading.Event(), threading.Event()

    def write(items: Sequence[int]) -> None:
        began.set()
        assert go_on.wait(LIMIT)
        if items[0] == 0:
            raise RuntimeError("a bug")
        written.extend(items)

    work = Background[int]("test", write, 0, 10, 5)
    work.add([0])
    assert began.wait(LIMIT)
    work.add(range(1, 9))
    assert not work.flush(0.01)
    go_on.set()
    assert work.flush(LIMIT)
    assert written == [4, 5, 6, 7, 8]


def test_a_process_that_ends_writes_first_what_waits() -> None:
    program = (
        "from sprayer_project.background import Background\n"
        "Background('test', lambda items: print(*items, flush=True), 0.3, 10, 10).add([1, 2])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "2"]
