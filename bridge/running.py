"""For programs that are not asynchronous: `run` awaits something for them, on one event loop for the whole program."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import threading
from collections.abc import Awaitable
from concurrent.futures import Future, wait
from contextvars import Context, copy_context
from typing import Any, Final, Generic, TypeVar

_T = TypeVar("_T")

#: Seconds between two looks whether somebody wants to stop us; Windows hears Ctrl-C only between two.
_LOOK_SECONDS: Final = 1.0
#: So long a program waits at its end, or after Ctrl-C, for what it has begun to be put away.
_END_SECONDS: Final = 5.0


class _Begun(Generic[_T]):
    """What is awaited for a thread of the program."""

    def __init__(self) -> None:
        self.end: Future[_T] = Future()
        self.task: asyncio.Task[_T] | None = None


class _Background:
    """A thread with an event loop. What was begun on it goes on between two calls."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="wfrecovery-run", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def _serve(self) -> None:
        """What wants to end the program, as `sys.exit` does, leaves the loop; it is for who awaits that."""
        stopped = False
        while not stopped:
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()
                stopped = True

    @property
    def runs(self) -> bool:
        """Not in a forked child: threads stay behind."""
        return self._thread.is_alive()

    def begin(self, begun: _Begun[_T], awaitable: Awaitable[_T], context: Context) -> None:
        """Have it awaited in that context."""

        def begin() -> None:
            begun.task = self._loop.create_task(_awaited(awaitable, context))
            begun.task.add_done_callback(lambda task: _hand_over(task, begun.end))

        self._loop.call_soon_threadsafe(begin, context=context)

    def cancel(self, begun: _Begun[Any]) -> None:
        """Stop it, and wait a moment for that; what has not begun by now does not any more."""

        def cancel() -> None:
            if begun.task is not None:
                begun.task.cancel()
            else:
                begun.end.set_result(None)

        self._loop.call_soon_threadsafe(cancel)
        wait([begun.end], _END_SECONDS)

    def _end(self) -> None:
        """What is followed is let go of, as at the end of `asyncio.run`."""
        if self.runs:
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(_END_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_SECONDS)


async def _awaited(awaitable: Awaitable[_T], context: Context) -> _T:
    """Its result; `context` is then as it has left its variables."""
    try:
        return await awaitable
    finally:
        for variable, value in copy_context().items():
            context.run(variable.set, value)


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _hand_over(task: asyncio.Task[_T], end: Future[_T]) -> None:
    if task.cancelled():
        end.cancel()
        end.set_running_or_notify_cancel()
    elif error := task.exception():
        end.set_exception(error)
    else:
        end.set_result(task.result())


_background: list[_Background] = []
_mutex = threading.Lock()


def _running() -> _Background:
    with _mutex:
        if not _background or not _background[-1].runs:
            _background[:] = [_Background()]
        return _background[-1]


def run(awaitable: Awaitable[_T]) -> _T:
    """Await something of `bridge` from a program that is not asynchronous, from any of its threads, and return its
    result or raise its error.

        recovered = bridge.run(recovery.check_and_recover_tasks())

    Unlike `asyncio.run`, all calls share one event loop: what is followed goes on between two of them. Context
    variables are the caller's, before and after: the task that a thread has entered is that for which it submits.
    Ctrl-C cancels what is awaited. At the program's end, whatever still runs is cancelled; the next run takes it up.

    Raises RuntimeError inside a running event loop: there it is awaited.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # else Python complains that it was never awaited
        raise RuntimeError("bridge.run is for programs without an event loop; here one runs: use await instead")
    background, context, begun = _running(), copy_context(), _Begun[_T]()
    try:  # Ctrl-C may come before it is known here that it has begun
        background.begin(begun, awaitable, context)
        while not wait([begun.end], _LOOK_SECONDS).done:
            pass
    except BaseException:
        background.cancel(begun)
        raise
    finally:
        _take_over(context)
    return begun.end.result()


def _take_over(context: Context) -> None:
    for variable, value in context.items():
        if variable.get(None) is not value:
            variable.set(value)
