"""A client's functions, whatever they are: asynchronous or plain, with few arguments or many, and in whatever way they
fail."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from ..redact import redact


async def called(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The result of a function that may be asynchronous or plain; a plain one runs in a thread. That something within
    it was cancelled is an error as any other: nobody has stopped who calls it."""
    calling = asyncio.ensure_future(_called(partial(function, *arguments, **named)))
    try:
        await asyncio.wait({calling})
    except asyncio.CancelledError:
        calling.cancel()
        await asyncio.wait({calling})
        if calling.cancelled() or calling.exception() is not None:
            raise
        _cancelled_later()  # the answer came in that moment: it may be the id of what is paid for
    if calling.cancelled():
        raise RuntimeError("something within it was cancelled")
    return calling.result()


def _cancelled_later() -> None:
    """Who calls is stopped where it waits next."""
    task = asyncio.current_task()
    if task is not None:
        getattr(task, "uncancel", int)()  # from Python 3.11 on they are counted
        task.cancel()


async def _called(function: partial[Any]) -> Any:
    if inspect.iscoroutinefunction(function.func):
        return await function()
    result = await _in_thread(function)
    return await result if inspect.isawaitable(result) else result


def taken(function: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """What a client's method takes of the arguments that are offered: not every client's knows them."""
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {name: value for name, value in offered.items() if takes_all or name in parameters}


def _in_thread(function: Callable[[], Any]) -> asyncio.Future[Any]:
    """Its result. One that hangs takes nobody's place in a pool, and is not waited for at the program's end."""
    loop = asyncio.get_running_loop()
    future, context = loop.create_future(), copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is None:
            future.set_result(result)
        else:  # a future takes no StopIteration
            future.set_exception(RuntimeError(said_by(error)) if isinstance(error, StopIteration) else error)

    def run() -> None:
        result, failure = None, None
        try:
            result = context.run(function)
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # its loop has ended
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="wfrecovery-engine", daemon=True).start()
    return future


def said_by(error: BaseException) -> str:
    """What an error says, with what it is, without secrets."""
    text = redact(str(error)).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
