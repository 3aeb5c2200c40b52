"""A node that hears no interruption, as those that wait inside a library do; and routes of a plugin that interrupts by
names of its own."""

from __future__ import annotations

import time
from typing import Any

import comfy.model_management
from aiohttp import web
from server import PromptServer  # type: ignore[import-not-found]

from nodes import interrupt_processing  # type: ignore[import-not-found]


class TryDeaf:
    """Hands on the picture after a while, whatever anybody says."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "sleep"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",), "seconds": ("FLOAT", {"default": 1.0, "max": 3600.0})}}

    def sleep(self, image: Any, seconds: float) -> tuple[Any]:
        time.sleep(seconds)
        return (image,)


@PromptServer.instance.routes.post("/try/interrupt/{name}")
async def interrupt(request: web.Request) -> web.Response:
    if request.match_info["name"] == "taken_before":
        interrupt_processing()
    else:
        comfy.model_management.interrupt_current_processing()
    return web.Response()


NODE_CLASS_MAPPINGS = {"TryDeaf": TryDeaf}
