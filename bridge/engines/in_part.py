"""A prompt that ComfyUI has accepted in part: which of the outputs that it leaves out the row cannot do without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..results.expected import NodeClass
from ..results.left_out import lacking, left_out, may_lack, not_run
from .errors import EngineError
from .history import ABSENT, Place, Sighting, sighting_of_history
from .refusals import left_out_reason

#: Asks ComfyUI for the node classes of a graph.
Ask = Callable[[Mapping[str, Any]], Awaitable[dict[str, NodeClass]]]


async def lacks_by_answer(
    ask: Ask, prompt: Mapping[str, Any], node_errors: Any, workflow_type: str | None
) -> tuple[str, ...]:
    """By what ComfyUI has answered to the prompt."""
    return lacking(prompt, left_out(node_errors), await _classes(ask, prompt), workflow_type)


async def seen_in(history: Mapping[str, Any], prompt_id: str, ask: Ask, *, heard: bool) -> Sighting:
    """How a prompt ended, by ComfyUI's history. Where the answer to it was not heard, it may have been accepted in
    part: then what it has made is no result."""
    if prompt_id not in history:
        return ABSENT
    seen = sighting_of_history(history[prompt_id])
    lacks = await _lacks(history[prompt_id], ask) if seen.place is Place.SUCCEEDED and not heard else ()
    return Sighting(Place.FAILED, message=left_out_reason(lacks)) if lacks else seen


async def _lacks(entry: Mapping[str, Any], ask: Ask) -> tuple[str, ...]:
    """A prompt without a row needs nothing."""
    item = entry.get("prompt")
    prompt, extra_data, outputs = item[2:5] if isinstance(item, list) and len(item) > 4 else ({}, {}, [])
    if not isinstance(prompt, Mapping) or not isinstance(extra_data, Mapping) or "wfrecovery" not in extra_data:
        return ()
    if not may_lack(prompt, outputs):  # as nearly always: nothing is asked
        return ()
    classes = await _classes(ask, prompt)
    tag = extra_data["wfrecovery"]
    workflow_type = tag.get("workflow_type") if isinstance(tag, Mapping) else None
    return lacking(prompt, not_run(prompt, outputs, classes), classes, workflow_type)


async def _classes(ask: Ask, prompt: Mapping[str, Any]) -> dict[str, NodeClass]:
    """None are known where ComfyUI does not answer."""
    try:
        return await ask(prompt)
    except EngineError:
        return {}
