"""A node that waits until a test lets it go on: what it is part of runs for as long as the test looks at it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import comfy.utils  # type: ignore[import-not-found]
import folder_paths  # type: ignore[import-not-found]


class TryGate:
    """Hands on the picture when the file `GATE.open` lies in the input folder; hears an interruption before."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "wait"
    WFRECOVERY_MAKES = "same"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"image": ("IMAGE",), "gate": ("STRING", {})}}

    def wait(self, image: Any, gate: str) -> tuple[Any]:
        opened, bar = Path(folder_paths.get_input_directory(), f"{gate}.open"), comfy.utils.ProgressBar(1_000_000)
        while not opened.exists():
            time.sleep(0.05)
            bar.update(1)
        return (image,)


NODE_CLASS_MAPPINGS = {"TryGate": TryGate}
