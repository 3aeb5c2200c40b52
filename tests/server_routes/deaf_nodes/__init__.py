"""A node that hears no interruption, as those that wait inside a library do."""

from __future__ import annotations

import time
from typing import Any


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


NODE_CLASS_MAPPINGS = {"TryDeaf": TryDeaf}
