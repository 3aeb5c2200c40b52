"""A node that queues its own prompt once more, as those do that load in batches; and hears no interruption.

Each part waits for the file `PREFIX.1` or `PREFIX.2` in the folder that the environment names. What stands in it is
what the node raises; nothing in it: the part saves its picture.
"""

from __future__ import annotations

import copy
import os
import time
import uuid
from pathlib import Path
from typing import Any

import folder_paths  # type: ignore[import-not-found]
from PIL import Image
from server import PromptServer  # type: ignore[import-not-found]


class TryNext:
    """Two parts; the second one is queued before the first waits, or after it."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        own = {"prefix": ("STRING", {}), "late": ("BOOLEAN", {"default": False}), "part": ("INT", {"default": 1})}
        return {"required": {"image": ("IMAGE",), **own}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def save(self, image: Any, prefix: str, late: bool, part: int, unique_id: str) -> dict[str, Any]:
        if part == 1 and not late:
            self._queue_next(unique_id)
        go = Path(os.environ["TRY_PARTS"], f"{prefix}.{part}")
        while not go.exists():
            time.sleep(0.01)
        if go.read_text():
            raise RuntimeError(go.read_text())
        if part == 1 and late:
            self._queue_next(unique_id)
        name = f"{prefix}_part{part}.png"
        Image.new("RGB", (16, 16), (part, 0, 0)).save(Path(folder_paths.get_output_directory(), name))
        return {"ui": {"images": [{"filename": name, "subfolder": "", "type": "output"}]}}

    def _queue_next(self, unique_id: str) -> None:
        server = PromptServer.instance
        _, _, graph, *rest = next(iter(server.prompt_queue.currently_running.values()))
        graph = copy.deepcopy(graph)
        graph[unique_id]["inputs"]["part"] = 2
        server.prompt_queue.put((-server.number, str(uuid.uuid4()), graph, *rest))
        server.number += 1


NODE_CLASS_MAPPINGS = {"TryNext": TryNext}
