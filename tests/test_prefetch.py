"""Batches fetched ahead: the same ones, errors in their place, threads that end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from graphspec.data import Batch, DataSource
from graphspec.data.prefetch import Prefetch
from graphspec.errors import SpecError
from sources import describe


class Recorded(DataSource):
    """Batches that hold their number; which were made, and on which thread."""

    def __init__(self, fail_at: int = -1) -> None:
        super().__init__(describe("data.arrays"), [])
        self.fail_at = fail_at
        self.made: list[tuple[int, bool]] = []
        self.gate = threading.Event()
        self.gate.set()

    attributes: Mapping[str, int] = {}
    streams = frozenset({"x"})
    batches = 10

    def batch(self, number: int) -> Batch:
        main = threading.current_thread() is threading.main_thread()
        assert main or self.gate.wait(10)
        self.made.append((number, main))
        if number == self.fail_at:
            raise self.wrong("E0610", f"batch {number} cannot be read")
        return Batch({"x": np.array([number])}, number == 0, 1)

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        return iter([])

    def to_json(self) -> dict[str, Any]:
        return {}


def threads() -> int:
    return sum(thread.name == "graphspec-data" for thread in threading.enumerate())


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes to be so within some seconds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    gc.collect()
    assert eventually(lambda: threads() == 0)
    yield
    gc.collect()
    assert eventually(lambda: threads() == 0)


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def ahead(recorded: Recorded) -> Iterator[Prefetch]:
    prefetch = Prefetch(recorded)
    yield prefetch
    prefetch.close()


def number_of(batch: Batch) -> int:
    return int(batch.arrays["x"][0])


def test_the_next_batch_is_made_on_the_thread(recorded: Recorded, ahead: Prefetch) -> None:
    assert [number_of(ahead.batch(n)) for n in range(5)] == [0, 1, 2, 3, 4]
    assert eventually(lambda: len(recorded.made) == 6)
    assert recorded.made == [(0, True), *((n, False) for n in range(1, 6))]


@pytest.mark.parametrize("order", [[0, 1, 5, 6, 2, 2, 3], [4, 3, 2, 1, 0], [7]])
def test_any_order_gives_the_batches_that_were_asked_for(order: list[int], ahead: Prefetch) -> None:
    assert [number_of(ahead.batch(n)) for n in order] == order


def test_making_a_batch_ahead_holds_nothing_up(recorded: Recorded, ahead: Prefetch) -> None:
    recorded.gate.clear()
    assert number_of(ahead.batch(0)) == 0  # batch 1 waits at the gate
    assert number_of(ahead.batch(7)) == 7  # and is not waited for
    recorded.gate.set()
    assert number_of(ahead.batch(8)) == 8


def test_an_error_comes_when_its_batch_is_asked_for() -> None:
    source = Recorded(fail_at=3)
    ahead = Prefetch(source)
    assert [number_of(ahead.batch(n)) for n in range(3)] == [0, 1, 2]
    assert eventually(lambda: (3, False) in source.made)
    assert number_of(ahead.batch(1)) == 1  # the error of batch 3 is nobody's
    assert number_of(ahead.batch(2)) == 2
    for _ in range(2):
        with pytest.raises(SpecError, match="batch 3 cannot be read"):
            ahead.batch(3)
    assert number_of(ahead.batch(4)) == 4
    ahead.close()


def test_closing_ends_the_thread_and_can_be_repeated(ahead: Prefetch) -> None:
    ahead.batch(0)
    assert threads() == 1
    ahead.close()
    ahead.close()
    assert eventually(lambda: threads() == 0)
    assert number_of(ahead.batch(1)) == 1
    assert threads() == 0


def test_closing_does_not_wait(recorded: Recorded, ahead: Prefetch) -> None:
    recorded.gate.clear()
    ahead.batch(0)
    ahead.close()
    assert threads() == 1
    recorded.gate.set()


def test_one_that_is_forgotten_ends_its_thread() -> None:
    Prefetch(Recorded()).batch(0)
    gc.collect()
    assert eventually(lambda: threads() == 0)


def test_what_was_taken_is_not_kept(recorded: Recorded, ahead: Prefetch) -> None:
    ahead.batch(0)
    kept = weakref.ref(ahead.batch(1).arrays["x"])
    assert eventually(lambda: kept() is None)


def test_no_thread_is_started_before_it_is_needed() -> None:
    code = "import graphspec, threading; from graphspec.data import prefetch; print(threading.active_count())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_the_interpreter_does_not_wait_for_a_batch() -> None:
    """Neither for one that is on its way nor for one that never comes, closed or not."""
    code = """
import time
from graphspec.data import Batch, SOURCES
from graphspec.data.prefetch import Prefetch
class Slow:
    def batch(self, number):
        if number:
            time.sleep(60)
first, second = Prefetch(Slow()), Prefetch(Slow())
first.batch(0), second.batch(0)
first.close()
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert time.monotonic() - began < 20
    assert done.stderr == ""
