"""A route that restarts ComfyUI in its own process, as the usual manager does; and a node that ends ComfyUI itself."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import folder_paths
from aiohttp import web
from server import PromptServer


def restart() -> NoReturn:
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@PromptServer.instance.routes.post("/try/exec")
async def restart_now(_: web.Request) -> web.Response:
    restart()


class TryEnd:
    """Ends ComfyUI from within its prompt, as nodes do that free memory that way. The next time it lets it live."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "end"
    WAYS = ("exec", "exit", "term")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",), "how": (list(cls.WAYS),)}}

    def end(self, image: Any, how: str) -> tuple[Any]:
        been_here = Path(folder_paths.get_input_directory()) / "ended"
        if not been_here.exists():
            been_here.touch()
            if how == "exec":
                restart()
            if how == "exit":
                sys.exit()  # of the thread that runs it, and of no other
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        return (image,)


NODE_CLASS_MAPPINGS = {"TryEnd": TryEnd}
