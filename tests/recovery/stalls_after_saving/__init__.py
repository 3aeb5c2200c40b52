"""SaveImage comes back late: its file is whole, and for as long as the file STALLS is there nobody says so."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nodes


def late(save: Callable[..., Any]) -> Callable[..., Any]:
    """`save`, which hands on what it has written when it may."""

    @functools.wraps(save)
    def saved(*args: Any, **kwargs: Any) -> Any:
        result = save(*args, **kwargs)
        while Path(os.environ["STALLS"]).exists():
            time.sleep(0.01)
        return result

    return saved


SAVER = nodes.NODE_CLASS_MAPPINGS["SaveImage"]
setattr(SAVER, SAVER.FUNCTION, late(getattr(SAVER, SAVER.FUNCTION)))

NODE_CLASS_MAPPINGS: dict[str, type] = {}
