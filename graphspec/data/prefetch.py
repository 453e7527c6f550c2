"""Batches made ready on a thread while the step before runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from graphspec.data.source import Batch, DataSource


class Prefetch:
    """``batch(n)`` of a source, with batch ``n + 1`` on its way when it returns.

    Batches are functions of their number, so nothing depends on what was fetched ahead; an error comes when its batch is asked for.
    """

    def __init__(self, source: DataSource) -> None:
        self.source = source
        self._thread = ThreadPoolExecutor(1, "graphspec-data")
        self._next: tuple[int, Future[Batch]] | None = None

    def batch(self, number: int) -> Batch:
        """Training batch ``number``; raises what the source raises."""
        ahead, self._next = self._next, None
        found = ahead[1].result() if ahead is not None and ahead[0] == number else self.source.batch(number)
        self._next = number + 1, self._thread.submit(self.source.batch, number + 1)
        return found

    def close(self) -> None:
        """Let the thread go, when what it fetches is there."""
        self._next = None
        self._thread.shutdown(cancel_futures=True)
