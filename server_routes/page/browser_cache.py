"""How browsers keep the page's modules: as ComfyUI has them keep scripts and styles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Where ComfyUI serves our `web` folder: under the name of the folder we lie in.
_PLACE: Final = f"/extensions/{quote(Path(__file__).parents[2].name)}/"


@web.middleware
async def ask_for_newer_modules(request: web.Request, handler: Handler) -> web.StreamResponse:
    """ComfyUI says nothing of `.mjs`: after an update a browser would mix modules that it kept with new ones."""
    response = await handler(request)
    if request.path.endswith(".mjs") and request.rel_url.raw_path.startswith(_PLACE):
        response.headers.setdefault("Cache-Control", "no-cache")
    return response
