"""The ComfyUI side: recording the prompt queue, recovery at start, the page's routes, publishing.

It imports `bridge` and, through `host.py` alone, ComfyUI; `page` imports `recovery` and `queue`, `recovery` imports
`queue`, and only `plugin.py` knows them all.
Start with `plugin.py`, which puts the parts together.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .page.routes import STATUS
from .plugin import Plugin

log = logging.getLogger("wfrecovery")


def install(server: Any) -> bool:
    """Hook into the `PromptServer` that is loading us. False where another copy of this pack has done so: each of them
    would take the other for another ComfyUI, and keep its prompts from running."""
    if any(getattr(route, "path", None) == STATUS for route in server.routes):
        folder = Path(__file__).parents[1]
        log.error("[wfrecovery] there is another copy in custom_nodes: %s does nothing → delete one of them", folder)
        return False
    Plugin(server).install()
    return True
