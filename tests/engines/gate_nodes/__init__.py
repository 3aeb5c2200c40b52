"""A node that renders until the test says how that ends: by the file `end` in the folder that it is given."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any


class TryGate:
    """Hands on the picture, or fails with the words that stand in the file."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "wait"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",), "folder": ("STRING", {"default": ""})}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802 - ComfyUI's name: never from the cache
        return float("nan")

    def wait(self, image: Any, folder: str) -> tuple[Any]:
        end = Path(folder, "end")
        bar = import_module("comfy.utils").ProgressBar(1)
        while not end.exists():
            bar.update(1)  # an interruption is raised here
            time.sleep(0.02)
        words = end.read_text("utf-8")
        if words:
            raise RuntimeError(words)
        return (image,)


NODE_CLASS_MAPPINGS = {"TryGate": TryGate}
