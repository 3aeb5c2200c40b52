"""An item of ComfyUI's prompt queue, in both of its shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...bridge.table.records import TaskRecord, is_task_id


@dataclass(frozen=True)
class QueueItem:
    """What we use of a queue item, which has five parts up to 0.3.66 and six from then on."""

    #: None where a client sent what is no number that can be written down
    number: float | None
    prompt_id: str
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    outputs: tuple[str, ...]
    #: outputs that its row needs, and that ComfyUI has not accepted
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, item: Any) -> QueueItem | None:
        """The parts, or None for another plugin's own kind of item. The sixth part holds secrets: never recorded."""
        if not isinstance(item, tuple | list) or len(item) < 5:
            return None
        number, prompt_id, prompt, extra_data, outputs = item[:5]
        if not isinstance(prompt, Mapping) or not isinstance(extra_data, Mapping):
            return None
        finite = number if isinstance(number, int | float) and math.isfinite(number) else None
        return cls(finite, str(prompt_id), prompt, extra_data, tuple(map(str, outputs or ())))

    @property
    def tag(self) -> tuple[str, str] | None:
        """The task and the prompt_id that the intake wrote into the prompt's own metadata, for its files to carry."""
        png_info = self.extra_data.get("extra_pnginfo")
        tag = png_info.get("wfrecovery") if isinstance(png_info, Mapping) else None
        if not isinstance(tag, Mapping):
            return None
        task_id, prompt_id = tag.get("task_id"), tag.get("prompt_id")
        return (str(task_id), prompt_id) if is_task_id(task_id) and isinstance(prompt_id, str) else None

    def belongs_to(self, task_id: str, prompt_id: str | None) -> bool:
        """Whether this is a task's prompt, or one that continues it. Where the item names no task, its id decides."""
        return self.tag[0] == task_id if self.tag is not None else self.prompt_id == prompt_id

    @property
    def task_id(self) -> str | None:
        """The task that this very prompt was given."""
        tag = self.tag
        return tag[0] if tag is not None and tag[1] == self.prompt_id else None


def prompt_id_of(raw: Any) -> Any:
    """The prompt_id of an item, also of another plugin's own kind; None where it has none."""
    return raw[1] if isinstance(raw, tuple | list) and len(raw) > 1 else None


def is_of(task: TaskRecord, raw: Any) -> bool:
    """Whether an item of the queue or the history is this task's."""
    item = QueueItem.of(raw)
    if item is not None:
        return item.belongs_to(task.task_id, task.comfyui_task_id)
    return prompt_id_of(raw) is not None and prompt_id_of(raw) == task.comfyui_task_id
