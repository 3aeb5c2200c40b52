"""Whose end ComfyUI's own routes are asked for, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

#: All of ComfyUI's routes are there with this before them, too.
_PREFIX = "api"


async def prompts_to_end(request: web.Request) -> frozenset[str]:
    """The prompts that an answered request names, to be interrupted or cancelled: ComfyUI says nothing to anybody of
    those that it does not have."""
    named: Any = []
    match [part for part in request.path.split("/") if part not in ("", _PREFIX)]:
        case ["interrupt"]:
            named = [(await _body(request)).get("prompt_id")]
        case ["jobs", "cancel"]:
            named = (await _body(request)).get("job_ids")
        case ["jobs", prompt_id, "cancel"]:
            named = [prompt_id]
    return frozenset(name for name in named if isinstance(name, str)) if isinstance(named, list) else frozenset()


async def _body(request: web.Request) -> Mapping[str, Any]:
    """As the route has read it."""
    try:
        body = await request.json()
    except Exception:  # whatever it is: the answer is there already, and goes out
        return {}
    return body if isinstance(body, dict) else {}
