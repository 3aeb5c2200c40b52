"""A route that restarts ComfyUI in its own process, as the usual manager does."""

from __future__ import annotations

import os
import sys

from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, type] = {}


@PromptServer.instance.routes.post("/try/exec")
async def restart(_: web.Request) -> web.Response:
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
