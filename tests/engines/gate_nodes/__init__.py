"""A node that renders until the test says how that ends, by a file at the place that it is given; one that tells."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any


class TryGate:
    """Hands on the picture when there is a file `gate`, by its path or its name in the input folder; or fails with the
    words that stand in it. Hears an interruption before."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "wait"
    WFRECOVERY_MAKES = "same"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",), "gate": ("STRING", {"default": ""})}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802 - ComfyUI's name: never from the cache
        return float("nan")

    def wait(self, image: Any, gate: str) -> tuple[Any]:
        opened = Path(import_module("folder_paths").get_input_directory(), gate)
        opened.with_suffix(".reached").touch()
        bar = import_module("comfy.utils").ProgressBar(1_000_000)
        while not opened.exists():
            bar.update(1)
            import_module("nodes").before_node_execution()  # raises an interruption: newer bars pass over small steps
            time.sleep(0.05)
        words = opened.read_text("utf-8")
        if words:
            raise RuntimeError(words)
        return (image,)


class TryTell:
    """Tells pages of its work in the two ways in which packs do: what is its client's alone where there is one, and
    what is for whoever listens."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "tell"
    WFRECOVERY_MAKES = "same"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",)}}

    def tell(self, image: Any) -> tuple[Any]:
        server = import_module("server").PromptServer.instance
        if server.client_id is not None:
            server.send_sync("try.own", {"key": "its client's"}, server.client_id)
        server.send_sync("try.all", {"asks": "whoever is there"}, server.client_id)
        return (image,)


NODE_CLASS_MAPPINGS = {"TryGate": TryGate, "TryTell": TryTell}
