"""One thread that writes what happens in the queue, in order, sooner or later; and what cannot be written, in words."""

from __future__ import annotations

import asyncio
import atexit
import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ...bridge.redact import redact
from ...bridge.table.database import TableBusyError, no_waiting_mends
from ...bridge.table.records import TaskError
from ...bridge.wording import Wording

log = logging.getLogger("wfrecovery")

#: A disk that hangs for longer must not hold up ComfyUI: the prompt goes on, and is recorded when that can be done.
PATIENCE_SECONDS: Final = 30.0
#: The same for a wish, which is obeyed in any case; and how often it is looked whether anything can be written at all.
WISH_SECONDS: Final = 2.0
BEHIND_SECONDS: Final = 0.5
#: Between two tries of what the disk does not take.
RETRY_SECONDS: Final = 1.0
#: So many tries find that the table takes other files: then what is refused waits for itself alone.
ALONE_TRIES: Final = 10
#: What may take another file, a smaller one.
_NO_ROOM: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})

#: By its name, who does what is handed over one thing after the other, and off the thread that hands it over.
Pool = Callable[[str], Executor]


def one_thread(name: str) -> Executor:
    """A thread of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix=name)


_ending: Final = threading.Event()
# Python waits for such a thread when it ends, by this very means, and calls what came in later first. Not public.
getattr(threading, "_register_atexit", atexit.register)(_ending.set)


class EndedError(TaskError):
    """ComfyUI has ended before a change could be written."""

    def __init__(self, about: Any, error: OSError) -> None:
        task_id = about if isinstance(about, str) else _task_of(about) or _task_of(getattr(about, "item", None))
        super().__init__(
            Wording(
                f"{task_id or 'a task'}: ComfyUI ends, and the task table cannot be written ({error}) → "
                "look at it after the next start, and queue it again if it is gone",
                f"{task_id or '一个任务'}：ComfyUI 正在退出，任务表无法写入（{error}）→ "
                "下次启动后请检查它；如果不见了，请重新排队",
            )
        )


def _task_of(about: Any) -> str | None:
    return getattr(about, "task_id", None)


@dataclass
class _Aside:
    """Changes of one prompt or task that wait for a file of its own."""

    error: OSError
    writes: list[Callable[[], Any]] = field(default_factory=list)


class Writer:
    """Writes off ComfyUI's event loop, off its worker and out of its queue's mutex.

    What cannot be written now (somebody holds the table's lock, the disk is full) is tried again until it is, and
    everything that comes after it waits: changes keep their order. Where a change is refused though the table takes
    others (a folder in the place of its file, a file that another program holds for good), that one is set aside, with
    what comes after it of the same prompt or task: it is tried again with `try_again`, and all others go on.
    `takes_others`: whether the table takes a file of no task. `ends`: whether Python waits for this thread to end; then
    all is tried once more, up to the first change that the table does not take.
    """

    def __init__(
        self,
        pool: Pool = one_thread,
        *,
        pause: Callable[[float], None] = time.sleep,
        takes_others: Callable[[], bool] = lambda: False,
        ends: Callable[[], bool] = _ending.is_set,
    ) -> None:
        self._thread = pool("wfrecovery-writer")
        self._pause, self._takes_others, self.ends = pause, takes_others, ends
        self._mutex = threading.Lock()
        #: by what they are about; on the writing thread
        self._aside: dict[Any, _Aside] = {}
        #: why nothing is written any more; on the writing thread
        self._gave_up: OSError | None = None
        #: how many changes are not written yet
        self.waiting = 0
        self.last_error: str | None = None
        #: why nothing can be written at the moment
        self.behind: str | None = None

    def submit(self, write: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Write after all that was submitted before; an error is reported. The first of the arguments is the prompt or
        the task that it is about."""
        with self._mutex:
            self.waiting += 1
        change = partial(write, *arguments)
        future = self._thread.submit(self._until_written, arguments[0] if arguments else change, change)
        future.add_done_callback(self._report_future)
        return future

    def try_again(self) -> None:
        """Try once what was set aside."""
        if self._aside:
            self._thread.submit(self._try_aside)

    async def written(self) -> None:
        """Wait until what was submitted so far is in the records; not for ever."""
        await self.wait([self._thread.submit(lambda: None)])

    async def wait(self, writes: Sequence[Future[Any]], most: float = PATIENCE_SECONDS) -> None:
        """Wait until these are written, or could not be, or for `most` seconds in which none of them was, in all for
        `PATIENCE_SECONDS`: many take their time. Hardly at all while nothing can be written."""
        left = [asyncio.wrap_future(write) for write in writes]
        loop = asyncio.get_running_loop()
        last = loop.time() + PATIENCE_SECONDS
        ends = loop.time() + most
        while left and (rest := min(BEHIND_SECONDS, ends - loop.time())) > 0:
            done, pending = await asyncio.wait(left, timeout=rest)
            left = list(pending)
            if done:
                ends = min(loop.time() + most, last)
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
        then = "" if self.ends() else " ComfyUI goes on without it."
        log.error("[wfrecovery] %s.%s", self.last_error, then, exc_info=None if expected else error)

    def _until_written(self, about: Any, write: Callable[[], Any]) -> Any:
        refused = 0
        while about not in self._aside:
            if self._gave_up is not None:
                raise EndedError(about, self._gave_up)
            try:
                answer = write()
            except OSError as error:
                if no_waiting_mends(error):
                    self._over()
                    raise
                refused += self._is_refused_alone(error)
                ends = self.ends()
                if refused == ALONE_TRIES or (ends and refused):
                    self._aside[about] = _Aside(error)
                elif ends:
                    self._gave_up = error
                else:
                    self._fell_behind(error)
                    self._pause(RETRY_SECONDS)
            except BaseException:
                self._over()
                raise
            else:
                self._over()
                return answer
        self._caught_up()
        aside = self._aside[about]
        aside.writes.append(write)
        raise aside.error

    def _is_refused_alone(self, error: OSError) -> bool:
        waits = isinstance(error, TableBusyError) or error.errno in _NO_ROOM
        return not waits and self._takes_others()

    def _try_aside(self) -> None:
        for about, aside in list(self._aside.items()):
            while aside.writes:
                try:
                    aside.writes[0]()
                except Exception as error:
                    if isinstance(error, OSError) and not no_waiting_mends(error):
                        break
                    self.report("not recorded", error)
                del aside.writes[0]
                self._over()
            if not aside.writes:
                del self._aside[about]
                log.warning("[wfrecovery] what was refused for itself is written: %s", aside.error)

    def _over(self) -> None:
        """A change is written, or never will be."""
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
