"""One process of a story, inside the test's own: its loop, its threads and its disk, from its start to SIGKILL.

Time is the computer's, and goes on only when the story says so. After SIGKILL nothing that a process has left behind
changes the disk any more, and its locks are free, as the kernel sees to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout
from table_support import WatchedDisk

from wfrecovery.bridge.table import lives, owners
from wfrecovery.bridge.table.manager import DatabaseManager

#: Passes of a loop that one thing may take.
MOST_PASSES = 2000
#: What needs room on the disk.
_NEEDS_ROOM = ("make_folder", "open_temp", "write", "create")


class Killed(BaseException):
    """SIGKILL has come."""


@dataclass
class Computer:
    """What all processes of a story stand on."""

    #: seconds since it was started
    now: float = 0.0
    kernel: str = "kernel 1"
    #: whether locks in the output folder exclude
    locks: bool = True
    #: so many more tries find the disk full, or the table's lock held by a process that was stopped
    full: int = 0
    held: int = 0

    def passed(self, seconds: float) -> None:
        """Somebody has waited before he tries again."""
        self.now += seconds
        self.full, self.held = max(0, self.full - 1), max(0, self.held - 1)

    def owners(self) -> lives.Surroundings:
        """As owners see it; their beats are moved by the story."""
        return lives.Surroundings(
            clock=lambda: self.now,
            kernel=lambda: self.kernel,
            locks_hold=lambda _: self.locks,
            beats=False,
            computer=lambda: "the only one",
        )


class Pen(ThreadPoolExecutor):
    """Does what it is handed in order: at once, or when it catches up, as a thread does on a slow disk."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self.slow = self.busy = False

    def submit(self, job: Callable[..., Any], /, *arguments: Any) -> Future[Any]:  # type: ignore[override]
        future: Future[Any] = Future()
        self.jobs.append((future, job, arguments))
        if not self.slow or asyncio._get_running_loop() is not None:  # who waits on the event loop is not kept waiting
            self.catch_up()
        return future

    def catch_up(self) -> None:
        if self.busy:
            return
        self.busy = True
        try:
            while self.jobs:
                future, job, arguments = self.jobs.popleft()
                try:
                    result = job(*arguments)
                except Exception as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
        finally:
            self.busy = False

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """As long as somebody waits for it."""
        self.catch_up()
        slow, self.slow = self.slow, False
        try:
            yield
        finally:
            self.slow = slow


class LifeDisk(WatchedDisk):
    """A disk that dies with its process, and is synced without delay."""

    def sync(self, descriptor: int) -> None:
        self.before("sync", (descriptor,))

    def sync_folder(self, folder: Path) -> None:
        self.before("sync_folder", (folder,))


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is the computer's."""

    def __init__(self, computer: Computer) -> None:
        super().__init__()
        self._computer = computer

    def time(self) -> float:
        return self._computer.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Threads of our own would go on beside the story."""
        return super().run_in_executor(None, func, *args)

    @property
    def idle(self) -> bool:
        """Whether nothing can be done before its next timer."""
        return not self._ready and not any(timer.when() <= self.time() for timer in self._scheduled[:1])

    @property
    def next_timer(self) -> float | None:
        """When something is due."""
        return min((timer.when() for timer in self._scheduled if not timer.cancelled()), default=None)


class Process:
    """One process. `watch` hears of each change of the disk ahead of it, and may die."""

    def __init__(self, computer: Computer) -> None:
        self.computer = computer
        #: killed; or stopped: it does nothing for a while, and keeps its locks
        self.dead = self.stopped = False
        self.watch: Callable[[str, tuple[Any, ...]], None] | None = None
        self.disk = LifeDisk(self._before)
        self.loop = self.new_loop()
        self._here: Any = weakref.WeakValueDictionary()
        self._tables: list[DatabaseManager] = []

    def new_loop(self) -> Loop:
        loop = Loop(self.computer)
        loop.set_default_executor(Pen())
        loop.set_exception_handler(lambda *_: None)
        return loop

    def opened(self, db: DatabaseManager) -> DatabaseManager:
        """A table that this process has opened: nobody waits for its lock here."""
        lock, acquire = db.table._lock, db.table._lock.acquire

        def acquire_now(*arguments: Any, **named: Any) -> Any:
            if self.computer.held:
                raise Timeout(lock.lock_file)
            return acquire(*arguments, **named)

        lock.acquire = acquire_now  # type: ignore[method-assign]
        self._tables.append(db)
        return db

    # ------------------------------------------------------------------ death

    def check(self) -> None:
        """What is dead does nothing any more."""
        if self.dead:
            raise Killed

    def die(self) -> None:
        """SIGKILL, here and now."""
        self.dead = True
        if self.loop.is_running():
            self.loop.call_soon_threadsafe(self.loop.stop)
        raise Killed

    def _before(self, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            self.check()
            if self.watch is not None:
                self.watch(name, arguments)
        except Killed:
            if name == "close":  # as the system does for a process that is gone
                os.close(arguments[0])
            raise
        if self.computer.full and name in _NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def pause(self, seconds: float) -> None:
        """A thread of its own waits."""
        self.check()
        self.computer.passed(seconds)

    def bury(self) -> None:
        """Take away what is left in memory."""
        self.dead = True
        with self.on():
            self.end_loop()
            for db in self._tables:
                db.owners.close()

    def end_loop(self) -> None:
        """All that runs in the loop ends, as in `asyncio.run` after Ctrl-C."""
        tasks = asyncio.all_tasks(self.loop)
        while left := [task for task in tasks if not task.done()]:
            for task in left:  # `wait_for` loses a cancellation that comes together with its answer
                task.cancel()
            self.step()
            tasks |= asyncio.all_tasks(self.loop)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self.loop.close()

    # ------------------------------------------------------------------ life

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """It has the processor: what a process knows of itself is this one's."""
        before, owners._here = owners._here, self._here
        try:
            yield
        finally:
            owners._here = before

    def step(self) -> bool:
        """One pass of the loop; whether there is more to do at once."""
        with self.on():
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        return not self.loop.idle

    def go_on(self, passes: int = MOST_PASSES) -> bool:
        """So many passes of the loop, or until nothing is to do at once; whether there is more."""
        for _ in range(passes):
            self.check()
            if not self.step():
                return False
        return True

    def run(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """Run until it has an answer; raises Killed when the process ends before."""
        task = self.loop.create_task(asked)
        for _ in range(MOST_PASSES):
            more = self.step()
            self.check()
            if task.done():
                return task.result()
            if not more and (due := self.loop.next_timer) is not None:
                self.computer.now = max(self.computer.now, due)
        raise AssertionError("it does not come to its end")

    def beat(self) -> None:
        """What its thread does every few seconds."""
        with self.on():
            for db in self._tables:
                self.check()
                db.owners.beat()
