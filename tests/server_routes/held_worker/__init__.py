"""Holds ComfyUI's worker with a prompt in its hands, before another plugin hears of that or before the executor begins,
when the queue has forgotten it or while its files are read: for as long as a file `hold` lies in the folder that is
named by the environment; `held` tells that it is."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import execution  # type: ignore[import-not-found]
from server import PromptServer  # type: ignore[import-not-found]

_FOLDER = Path(os.environ["TRY_HELD_WORKER"])


def _hold(where: str) -> None:
    hold = _FOLDER / "hold"
    if hold.exists() and hold.read_text() == where:
        (_FOLDER / "held").touch()
        while hold.exists():
            time.sleep(0.01)


_queue = PromptServer.instance.prompt_queue
_get, _task_done, _execute = _queue.get, _queue.task_done, execution.PromptExecutor.execute
_sha256 = hashlib.sha256
_worker = threading.local()


def get(*args: Any, **kwargs: Any) -> Any:
    """Never with nothing: whoever wraps it when the worker is inside does not hear of the first prompt."""
    _worker.ends = False
    while (taken := _get(*args, **kwargs)) is None:
        pass
    _hold("taken")
    return taken


def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
    _hold("begins")
    return _execute(self, *args, **kwargs)


def task_done(*args: Any, **kwargs: Any) -> None:
    _task_done(*args, **kwargs)
    _hold("ended")
    _worker.ends = True


def sha256(*args: Any, **kwargs: Any) -> Any:
    if getattr(_worker, "ends", False):
        _hold("read")
    return _sha256(*args, **kwargs)


hashlib.sha256 = sha256
_queue.get, _queue.task_done = get, task_done
execution.PromptExecutor.execute = execute
NODE_CLASS_MAPPINGS: dict[str, Any] = {}
