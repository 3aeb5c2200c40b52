"""A node that queues its own prompt once more, as those do that load in batches; and hears no interruption.

Each part makes `PREFIX.1.begun`, `PREFIX.2.begun`, … in the folder that the environment names, and waits there for the
file `PREFIX.1`, `PREFIX.2`, … What stands in it is what the node raises; nothing in it: the part saves its picture.
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
    """Two parts, or more; the next ones are queued, all at once, before the first waits, or after it."""

    CATEGORY = "wfrecovery/tests"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        own = {"prefix": ("STRING", {}), "late": ("BOOLEAN", {"default": False}), "part": ("INT", {"default": 1})}
        own["parts"] = ("INT", {"default": 2})
        return {"required": {"image": ("IMAGE",), **own}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def save(self, image: Any, prefix: str, late: bool, part: int, parts: int, unique_id: str) -> dict[str, Any]:
        following = range(2, parts + 1) if part == 1 else ()
        for number in following if not late else ():
            self._queue_next(unique_id, number)
        go = Path(os.environ["TRY_PARTS"], f"{prefix}.{part}")
        go.with_name(f"{go.name}.begun").touch()
        while not go.exists():
            time.sleep(0.01)
        if go.read_text():
            raise RuntimeError(go.read_text())
        for number in following if late else ():
            self._queue_next(unique_id, number)
        name = f"{prefix}_part{part}.png"
        Image.new("RGB", (16, 16), (part, 0, 0)).save(Path(folder_paths.get_output_directory(), name))
        return {"ui": {"images": [{"filename": name, "subfolder": "", "type": "output"}]}}

    def _queue_next(self, unique_id: str, number: int) -> None:
        server = PromptServer.instance
        _, _, graph, *rest = next(iter(server.prompt_queue.currently_running.values()))
        graph = copy.deepcopy(graph)
        graph[unique_id]["inputs"]["part"] = number
        server.prompt_queue.put((number - 1000, str(uuid.uuid4()), graph, *rest))


NODE_CLASS_MAPPINGS = {"TryNext": TryNext}
