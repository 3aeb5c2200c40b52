"""The ComfyUI side: recording the prompt queue, recovery at start, the HTTP routes."""

from __future__ import annotations

from typing import Any

from .plugin import Plugin


def install(server: Any) -> None:
    """Hook into the `PromptServer` that is loading us."""
    Plugin(server).install()
