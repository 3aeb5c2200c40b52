"""What this process is at work on: a task that somebody has entered, submitted or follows here, for as long as he does.

Who returns, is cancelled or raises is no longer at work, and his tasks may be taken, also by the same process: a
`main.py` with a menu goes back to it after Ctrl-C, and lives on. Other processes know from the record alone: what is
`left` is kept until it is let go of there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final

#: Seconds between two looks whether somebody else here has decided.
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class _Worker:
    """Who is at work on a task: an asyncio task, or else a thread."""

    still: Callable[[], bool]
    #: the asyncio task, or else the thread
    key: int


_NOBODY: Final = _Worker(lambda: False, 0)


class Work:
    """Tasks, and who is at work on each; for several threads at once."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._workers: dict[str, _Worker] = {}
        #: who decides about a task just now
        self._deciding: dict[str, _Worker] = {}

    def begin(self, task_id: str) -> None:
        """Whoever calls is at work on it: the asyncio task, or else the thread, until that has ended."""
        worker = _caller()
        with self._mutex:
            self._workers[task_id] = worker

    def end(self, task_id: str) -> None:
        """Nobody here is any longer."""
        with self._mutex:
            self._workers[task_id] = _NOBODY

    @contextlib.contextmanager
    def during(self, task_id: str) -> Iterator[None]:
        """At work for as long as the block lasts."""
        self.begin(task_id)
        try:
            yield
        finally:
            self.end(task_id)

    @contextlib.asynccontextmanager
    async def deciding(self, task_id: str) -> AsyncIterator[None]:
        """Alone in this process, in whatever thread and loop, for as long as the block lasts: two who see that a task
        was not sent would both send it."""
        me = _caller()
        while not self._may_decide(task_id, me):  # noqa: ASYNC110 - the other one may run in another loop
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            with self._mutex:
                if self._deciding.get(task_id) is me:
                    del self._deciding[task_id]

    def _may_decide(self, task_id: str, me: _Worker) -> bool:
        with self._mutex:
            other = self._deciding.get(task_id, _NOBODY)
            if not other.still():  # its loop may have ended in the middle
                self._deciding[task_id] = me
            return self._deciding[task_id] is me

    def end_of_thread(self) -> None:
        """Who calls begins anew: what his thread was at work on outside of asyncio is no longer worked on."""
        self._end_of(threading.get_ident())

    def end_of_task(self) -> None:
        """The same for the asyncio task that calls."""
        self._end_of(_caller().key)

    def _end_of(self, key: int) -> None:
        with self._mutex:
            ended = [task_id for task_id, worker in self._workers.items() if worker.key == key]
            self._workers.update(dict.fromkeys(ended, _NOBODY))

    def on(self, task_id: str) -> bool:
        """Whether somebody here is at work on it."""
        with self._mutex:
            return self._workers.get(task_id, _NOBODY).still()

    def left(self) -> list[str]:
        """What somebody here was at work on, and nobody is any longer."""
        with self._mutex:
            return [task_id for task_id, worker in self._workers.items() if not worker.still()]

    def forget(self, task_id: str) -> None:
        """What was left is let go of; unless somebody has begun again."""
        with self._mutex:
            if not self._workers.get(task_id, _NOBODY).still():
                self._workers.pop(task_id, None)


def _caller() -> _Worker:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        task = None
    if task is None:
        thread = weakref.ref(threading.current_thread())
        return _Worker(lambda: (found := thread()) is not None and found.is_alive(), threading.get_ident())
    known = weakref.ref(task)
    return _Worker(
        lambda: (found := known()) is not None and not found.done() and not found.get_loop().is_closed(), id(task)
    )
