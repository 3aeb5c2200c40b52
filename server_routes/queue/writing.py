"""One thread that writes what happens in the queue, in order, sooner or later; and what cannot be written, in words."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from functools import partial
from typing import Any, Final

from ...bridge.redact import redact
from ...bridge.table.database import may_come_in_later
from ...bridge.table.records import TaskError

log = logging.getLogger("wfrecovery")

#: A disk that hangs for longer must not hold up ComfyUI: the prompt goes on, and is recorded when that can be done.
PATIENCE_SECONDS: Final = 30.0
#: The same for a wish, which is obeyed in any case; and how often it is looked whether anything can be written at all.
WISH_SECONDS: Final = 2.0
BEHIND_SECONDS: Final = 0.5
#: Between two tries of what the disk does not take.
RETRY_SECONDS: Final = 1.0

#: By its name, who does what is handed over one thing after the other, and off the thread that hands it over.
Pool = Callable[[str], Executor]


def one_thread(name: str) -> Executor:
    """A thread of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix=name)


class Writer:
    """Writes off ComfyUI's event loop, off its worker and out of its queue's mutex.

    What cannot be written now (somebody holds the table's lock, the disk is full) is tried again until it is, and
    everything that comes after it waits: changes keep their order.
    """

    def __init__(self, pool: Pool = one_thread, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._thread = pool("wfrecovery-writer")
        self._pause = pause
        self._mutex = threading.Lock()
        #: how many changes are not written yet
        self.waiting = 0
        self.last_error: str | None = None
        #: why nothing can be written at the moment
        self.behind: str | None = None

    def submit(self, write: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Write after all that was submitted before; an error that no waiting mends is reported."""
        with self._mutex:
            self.waiting += 1
        future = self._thread.submit(self._until_written, partial(write, *arguments))
        future.add_done_callback(self._report_future)
        return future

    async def written(self) -> None:
        """Wait until what was submitted so far is in the records; not for ever."""
        await self.wait([self._thread.submit(lambda: None)])

    async def wait(self, writes: Sequence[Future[Any]], most: float = PATIENCE_SECONDS) -> None:
        """Wait until these are written, or could not be, or for `most` seconds; hardly at all while nothing can be."""
        left = [asyncio.wrap_future(write) for write in writes]
        loop = asyncio.get_running_loop()
        ends = loop.time() + most
        while left and (rest := min(BEHIND_SECONDS, ends - loop.time())) > 0:
            _, pending = await asyncio.wait(left, timeout=rest)
            left = list(pending)
            if self.behind:
                return

    def wait_here(self, write: Future[Any]) -> bool:
        """The same on a thread that may wait; whether it is written, or could not be."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not write.done() and (rest := min(BEHIND_SECONDS, ends - time.monotonic())) > 0:
            wait_for([write], rest)
            if self.behind:
                break
        return write.done()

    def report(self, what: str, error: BaseException) -> None:
        """Log an error of ours; ComfyUI goes on."""
        self.last_error = redact(f"{what}: {error}")
        expected = isinstance(error, OSError | TaskError)
        log.error("[wfrecovery] %s. ComfyUI goes on without it.", self.last_error, exc_info=None if expected else error)

    def _until_written(self, write: Callable[[], Any]) -> Any:
        try:
            while True:
                try:
                    return write()
                except OSError as error:
                    if not may_come_in_later(error):
                        raise
                    self._fell_behind(error)
                self._pause(RETRY_SECONDS)
        finally:
            with self._mutex:
                self.waiting -= 1
            self._caught_up()

    def _fell_behind(self, error: OSError) -> None:
        if self.behind is None:
            log.error("[wfrecovery] nothing can be recorded at the moment, tried again until it can: %s", error)
        self.behind = redact(str(error))

    def _caught_up(self) -> None:
        if self.behind is not None:
            log.warning("[wfrecovery] the task table can be written again")
            self.behind = None

    def _report_future(self, future: Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self.report("not recorded", error)
