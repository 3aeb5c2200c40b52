"""A ComfyUI whose worker comes to the queue late, when all plugins listen.

The worker makes its executor before it first asks the queue: on a slow machine that takes longer than the plugins do.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import execution


def when_hooked(make: Callable[..., None]) -> Callable[..., None]:
    """`make` an executor when the queue's `get` is somebody's own, as any plugin may have wrapped it."""

    @functools.wraps(make)
    def late(executor: Any, server: Any, *args: Any, **kwargs: Any) -> None:
        make(executor, server, *args, **kwargs)
        while "get" not in vars(server.prompt_queue):
            time.sleep(0.01)

    return late


execution.PromptExecutor.__init__ = when_hooked(execution.PromptExecutor.__init__)

NODE_CLASS_MAPPINGS: dict[str, type] = {}
