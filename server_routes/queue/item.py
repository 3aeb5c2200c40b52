"""An item of ComfyUI's prompt queue, in both of its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class QueueItem:
    """What we use of a queue item, which has five parts up to 0.3.66 and six from then on."""

    number: float
    prompt_id: str
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, item: Any) -> QueueItem | None:
        """The parts, or None for another plugin's own kind of item. The sixth part holds secrets: never recorded."""
        if not isinstance(item, tuple | list) or len(item) < 5:
            return None
        number, prompt_id, prompt, extra_data, outputs = item[:5]
        if not isinstance(prompt, Mapping) or not isinstance(extra_data, Mapping):
            return None
        return cls(number, str(prompt_id), prompt, extra_data, tuple(map(str, outputs or ())))

    @property
    def task_id(self) -> str | None:
        """The task that the intake wrote into the prompt's own metadata."""
        tag = (self.extra_data.get("extra_pnginfo") or {}).get("wfrecovery")
        if isinstance(tag, Mapping) and tag.get("prompt_id") == self.prompt_id:
            return str(tag.get("task_id"))
        return None
