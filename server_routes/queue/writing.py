"""One thread that writes what happens in the queue, in order; and what could not be written, in words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final

from ...bridge.redact import redact
from ...bridge.table.records import TaskError

log = logging.getLogger("wfrecovery")

#: A disk that hangs for longer must not hold up ComfyUI: the prompt goes on unrecorded, and the log says so.
PATIENCE_SECONDS: Final = 30.0

#: By its name, who does what is handed over one thing after the other, and off the thread that hands it over.
Pool = Callable[[str], Executor]


def one_thread(name: str) -> Executor:
    """A thread of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix=name)


class Writer:
    """Writes off ComfyUI's event loop, off its worker and out of its queue's mutex."""

    def __init__(self, pool: Pool = one_thread) -> None:
        self._thread = pool("wfrecovery-writer")
        self.last_error: str | None = None

    def submit(self, write: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Write after all that was submitted before; an error is reported."""
        future = self._thread.submit(write, *arguments)
        future.add_done_callback(self._report_future)
        return future

    async def written(self) -> None:
        """Wait until what was submitted so far is in the records; not for ever."""
        await asyncio.wait([asyncio.wrap_future(self._thread.submit(lambda: None))], timeout=PATIENCE_SECONDS)

    def report(self, what: str, error: BaseException) -> None:
        """Log an error of ours; ComfyUI goes on."""
        self.last_error = redact(f"{what}: {error}")
        expected = isinstance(error, OSError | TaskError)
        log.error("[wfrecovery] %s. ComfyUI goes on without it.", self.last_error, exc_info=None if expected else error)

    def _report_future(self, future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            self.report("not recorded", error)
