"""Our thread that writes comes to it late, as on a slow disk; and a node that takes ComfyUI down the moment it runs."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

WRITES_LATER_SECONDS: Final = 0.5


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


class TryKill:
    """Ends the process without a word, as a driver may."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "kill"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",)}}

    def kill(self, image: Any) -> tuple[Any]:
        os._exit(9)


ThreadPoolExecutor.submit = slowly(ThreadPoolExecutor.submit)  # type: ignore[method-assign]

NODE_CLASS_MAPPINGS = {"TryKill": TryKill}
