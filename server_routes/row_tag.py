"""Which row a prompt is for: from `extra_data.wfrecovery`, or from a *Row Task* node in its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..bridge.records import WorkflowType
from ..bridge.redact import without_secrets

_NODE: Final = "WfrecoveryRowTask"


@dataclass(frozen=True)
class RowTag:
    """A prompt's row; without one, `row_number` is None and `problem` says why where a tag was there."""

    row_number: int | None = None
    product_name: str = ""
    model_name: str = ""
    workflow_type: str | None = None
    task_id: str | None = None
    feishu_row_data: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


def row_tag_of(prompt: Mapping[str, Any], extra_data: Mapping[str, Any]) -> RowTag:
    """The row of a prompt. A bad tag never refuses the prompt: it is recorded as one without a row."""
    tag = extra_data.get("wfrecovery")
    if tag is None:
        tag = _from_node(prompt)
    if tag is None:
        return RowTag()
    if not isinstance(tag, Mapping):
        return RowTag(problem=f"extra_data.wfrecovery is not an object but {type(tag).__name__}")
    task_id = tag.get("task_id") if isinstance(tag.get("task_id"), str) else None
    problem = _problem(tag)
    if problem:
        return RowTag(task_id=task_id, problem=problem)
    if tag.get("row_number") is None:
        return RowTag(task_id=task_id)
    row_data = tag.get("feishu_row_data")
    return RowTag(
        row_number=int(tag["row_number"]),
        product_name=str(tag.get("product_name") or ""),
        model_name=str(tag.get("model_name") or ""),
        workflow_type=WorkflowType(tag["workflow_type"]).value,
        task_id=task_id,
        feishu_row_data=without_secrets(row_data) if isinstance(row_data, Mapping) else {},
    )


def _problem(tag: Mapping[str, Any]) -> str | None:
    number = tag.get("row_number")
    if number is None and tag.get("workflow_type") is None:
        return None  # a prompt without a row
    text = str(number)
    if (
        isinstance(number, bool)
        or not isinstance(number, int | str)
        or not text.isascii()
        or not text.isdigit()
        or int(text) < 1
    ):
        return f"row_number is {number!r}, not the number of a row (1, 2, …)"
    allowed = [item.value for item in WorkflowType]
    if tag.get("workflow_type") not in allowed:
        return f"workflow_type is {tag.get('workflow_type')!r}, not one of {', '.join(allowed)}"
    return None


def _from_node(prompt: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for node in prompt.values():
        if isinstance(node, Mapping) and node.get("class_type") == _NODE:
            inputs = node.get("inputs") or {}
            # a linked widget has its value only while the graph runs
            return {name: value for name, value in inputs.items() if not isinstance(value, list)}
    return None
