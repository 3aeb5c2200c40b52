"""Work that waits for the disk, on threads of our own.

From those of its event loop ComfyUI serves its page and its pictures: a disk of ours that hangs would keep them all.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")

_THREADS: Final = ThreadPoolExecutor(16, thread_name_prefix="wfrecovery-disk")


async def apart(work: Callable[_Given, _Made], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
    """What `work` returns or raises; as `asyncio.to_thread`."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _THREADS, partial(context.run, partial(work, *args, **kwargs))
    )
