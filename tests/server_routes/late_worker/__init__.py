"""A ComfyUI whose worker comes to the queue late, when all plugins listen; and our thread that writes is slow.

The worker makes its executor before it first asks the queue: on a slow machine that takes longer than the plugins do.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import execution

WRITES_LATER_SECONDS: Final = 0.5


def when_hooked(make: Callable[..., None]) -> Callable[..., None]:
    """`make` an executor when the queue's `get` is somebody's own, as any plugin may have wrapped it."""

    @functools.wraps(make)
    def late(executor: Any, server: Any, *args: Any, **kwargs: Any) -> None:
        make(executor, server, *args, **kwargs)
        while "get" not in vars(server.prompt_queue):
            time.sleep(0.01)

    return late


def slowly(submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    """`submit` to a thread that does not come to it at once."""

    @functools.wraps(submit)
    def later(pool: Any, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def do() -> Any:
            time.sleep(WRITES_LATER_SECONDS)
            return job(*args, **kwargs)

        if str(getattr(pool, "_thread_name_prefix", "")).startswith("wfrecovery-writer"):
            return submit(pool, do)
        return submit(pool, job, *args, **kwargs)

    return later


execution.PromptExecutor.__init__ = when_hooked(execution.PromptExecutor.__init__)
ThreadPoolExecutor.submit = slowly(ThreadPoolExecutor.submit)

NODE_CLASS_MAPPINGS: dict[str, type] = {}
