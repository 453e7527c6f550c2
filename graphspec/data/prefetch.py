"""Batches made ready on a thread while the step before runs."""

from __future__ import annotations

import weakref
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

from graphspec.data.source import Batch, DataSource

Request = tuple[int, "Future[Batch]"]


class Prefetch:
    """``batch(n)`` of a source, with batch ``n + 1`` on its way when it returns.

    Batches are functions of their number, so nothing depends on what was fetched ahead; an error comes when its batch is asked for.
    """

    def __init__(self, source: DataSource) -> None:
        self.source = source
        self._ahead: Request | None = None
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        # Not an executor: the interpreter waits for its threads at exit.  A daemon it leaves behind, in the middle of a batch if need be.
        Thread(target=_fetch, args=(source, self._requests), name="graphspec-data", daemon=True).start()
        self._end = weakref.finalize(self, self._requests.put, None)

    def batch(self, number: int) -> Batch:
        """Training batch ``number``; raises what the source raises."""
        ahead, self._ahead = self._ahead, None
        found = ahead[1].result() if ahead is not None and ahead[0] == number else self.source.batch(number)
        if self._end.alive:
            self._ahead = number + 1, Future()
            self._requests.put(self._ahead)
        return found

    def close(self) -> None:
        """Let the thread go, when what it fetches is there; does not wait for it.  Batches are then made as they are asked for."""
        self._ahead = None
        self._end()


def _fetch(source: DataSource, requests: SimpleQueue[Request | None]) -> None:
    """The thread.  It knows nothing of the Prefetch, so that one that is forgotten unclosed ends it too."""
    while (request := requests.get()) is not None:
        number, future = request
        try:
            future.set_result(source.batch(number))
        except Exception as failure:
            future.set_exception(failure)
        del request, future  # or the batch would be held until the next is asked for
