"""The ComfyUI side: recording the prompt queue, recovery at start, the page's routes, publishing.

It imports `bridge` and, through `host.py` alone, ComfyUI; `page` imports `recovery` and `queue`, `recovery` imports
`queue`, and only `plugin.py` knows them all.
Start with `plugin.py`, which puts the parts together.
"""

from __future__ import annotations

from typing import Any

from .plugin import Plugin


def install(server: Any) -> None:
    """Hook into the `PromptServer` that is loading us."""
    Plugin(server).install()
