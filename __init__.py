"""wfrecovery: batches in ComfyUI that survive anything.

This file is what ComfyUI loads. Outside ComfyUI (``from wfrecovery import bridge``) importing it does nothing.
"""

import logging
import sys

WEB_DIRECTORY: str | None = "./web"
NODE_CLASS_MAPPINGS: dict[str, type] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}

# Other tools import packs without a running server: only a ComfyUI that is starting has made the instance.
_server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
if _server is not None:
    try:
        from . import nodes
        from .server_routes import install

        if install(_server):
            NODE_CLASS_MAPPINGS = nodes.NODE_CLASS_MAPPINGS
            NODE_DISPLAY_NAME_MAPPINGS = nodes.NODE_DISPLAY_NAME_MAPPINGS
        else:  # another copy is there
            WEB_DIRECTORY = None
    except Exception:
        # Whatever is wrong with us, ComfyUI starts and works as if we were not here.
        logging.getLogger("wfrecovery").exception("[wfrecovery] not loaded: tasks are NOT recorded in this session")

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
