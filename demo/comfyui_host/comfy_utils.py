"""``comfy.utils``: the progress bar that nodes tick. Its hook raises when the prompt was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Hook = Callable[..., None]

PROGRESS_BAR_ENABLED = True
PROGRESS_BAR_HOOK: Hook | None = None


def set_progress_bar_global_hook(function: Hook | None) -> None:
    """Who is told about every tick."""
    global PROGRESS_BAR_HOOK  # noqa: PLW0603 - the name is ComfyUI's
    PROGRESS_BAR_HOOK = function


class ProgressBar:
    """Progress of one node: ``update`` counts on, ``update_absolute`` sets."""

    def __init__(self, total: int, node_id: str | None = None) -> None:
        self.total = total
        self.current = 0
        self.hook = PROGRESS_BAR_HOOK
        self.node_id = node_id

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        """Set the progress."""
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        if self.hook is not None:
            self.hook(self.current, self.total, preview, node_id=self.node_id)

    def update(self, value: int) -> None:
        """Count on by ``value``."""
        self.update_absolute(self.current + value)
