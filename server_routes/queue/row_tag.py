"""Which row a prompt is for: from `extra_data.wfrecovery`, or from a *Row Task* node in its graph."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...bridge.redact import without_secret_texts
from ...bridge.table.cells import cell_text
from ...bridge.table.records import WorkflowType
from ...bridge.table.row_identity import RowIdentity, identity_in, identity_said

_NODE: Final = "WfrecoveryRowTask"
_WIDGETS: Final = ("row_number", "product_name", "model_name", "workflow_type")
#: Widgets that may stay empty, or come from a node whose value is known only while it runs: then they tell nothing.
_MORE_WIDGETS: Final = ("prompt", "product_image", "model_image")
#: What tells a row apart besides its names.
_CELLS: Final = ("prompt", "product_image", "model_image", "record_id")
_CONSTANT: Final = re.compile(r"primitive|constant|reroute|literal", re.IGNORECASE)
_MAX_LINKS: Final = 20
#: A sheet has far fewer rows.
_MAX_DIGITS: Final = 9
#: What a table, a document or a batch is called.
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class RowTag:
    """A prompt's row; without one, `row_number` is None and `problem` says why where a tag was there."""

    row_number: int | None = None
    product_name: str = ""
    model_name: str = ""
    workflow_type: str | None = None
    task_id: str | None = None
    feishu_row_data: Mapping[str, Any] = field(default_factory=dict)
    #: what tells the row apart
    row: RowIdentity | None = None
    problem: str | None = None
    #: who delivers the result, and where to, where the one says so who has sent it; and of which batch of his it is
    publisher: str | None = None
    document: str | None = None
    sheet: str | None = None
    batch: str | None = None
    #: the table that he has a record of it in
    table: str | None = None


def row_tag_of(prompt: Mapping[str, Any], extra_data: Mapping[str, Any]) -> RowTag:
    """The row of a prompt. A bad tag never refuses the prompt: it is recorded as one without a row."""
    tag = extra_data.get("wfrecovery")
    if tag is None:
        try:
            tag = _from_nodes(prompt)
        except _UnclearError as error:
            return RowTag(problem=str(error))
    if tag is None:
        return RowTag()
    if not isinstance(tag, Mapping):
        return RowTag(problem=f"extra_data.wfrecovery is {_shown(tag)}, not an object")
    task_id = tag.get("task_id") if isinstance(tag.get("task_id"), str) else None
    problem = _problem(tag)
    if problem:
        return RowTag(task_id=task_id, problem=problem)
    if tag.get("row_number") is None:
        return RowTag(task_id=task_id)
    row_data = tag.get("feishu_row_data")
    row_data = without_secret_texts(row_data) if isinstance(row_data, Mapping) else {}
    named = {name: tag[name] for name in _CELLS if name in tag}  # as a client's own code may write them
    product_name, model_name = cell_text(tag.get("product_name")), cell_text(tag.get("model_name"))
    row = tag.get("row")
    return RowTag(
        row_number=int(tag["row_number"]),
        product_name=product_name,
        model_name=model_name,
        workflow_type=WorkflowType(tag["workflow_type"]).value,
        task_id=task_id,
        feishu_row_data={**named, **row_data},
        row=identity_said(row)
        if isinstance(row, Mapping)
        else identity_in(product_name, model_name, {**named, **row_data}),
        **{name: _name(tag.get(name)) for name in ("publisher", "document", "sheet", "batch", "table")},
    )


def _name(value: Any) -> str | None:
    """A client's value where a record has a name; what is none is as if it had not been sent."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


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
        or len(text) > _MAX_DIGITS
        or int(text) < 1
    ):
        return f"row_number is {_shown(number)}, not the number of a row (1, 2, …)"
    allowed = [item.value for item in WorkflowType]
    if tag.get("workflow_type") not in allowed:
        return f"workflow_type is {_shown(tag.get('workflow_type'))}, not one of {', '.join(allowed)}"
    return None


def _shown(value: Any) -> str:
    """A client's value in a sentence, as JSON says it."""
    if isinstance(value, Mapping | list | tuple):
        return "a list" if isinstance(value, list | tuple) else "an object"
    return json.dumps(value, ensure_ascii=False, default=str)[:100]


class _UnclearError(ValueError):
    """The graph does not say for sure which row it is for."""


def _from_nodes(prompt: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row that the *Row Task* nodes of a graph name; several may name the same one."""
    tags = {
        str(node_id): _of_node(prompt, node_id, node["inputs"])
        for node_id, node in prompt.items()
        if isinstance(node, Mapping) and node.get("class_type") == _NODE and isinstance(node.get("inputs"), Mapping)
    }
    tag = next(iter(tags.values()), None)
    if any(other != tag for other in tags.values()):
        rows = ", ".join(f"node {node_id}: row {other['row_number']}" for node_id, other in tags.items())
        raise _UnclearError(f"the Row Task nodes do not agree on one row ({rows}); a prompt is for one row")
    return tag


def _of_node(prompt: Mapping[str, Any], node_id: object, inputs: Mapping[str, Any]) -> dict[str, Any]:
    tag: dict[str, Any] = {}
    for name in _WIDGETS:
        try:
            tag[name] = _literal(prompt, inputs.get(name))
        except _UnclearError as error:
            raise _UnclearError(
                f"{name} of Row Task (node {node_id}) comes from {error}, whose value is known only while it runs: "
                "type it in, or take it from a Primitive node"
            ) from None
    more = {name: text for name in _MORE_WIDGETS if (text := _known(prompt, inputs.get(name)))}
    if more:
        tag["feishu_row_data"] = {**{name: tag[name] for name in _WIDGETS[:3]}, **more}
    return tag


def _known(prompt: Mapping[str, Any], value: Any) -> str:
    """A widget's text; "" where it is not known before the graph runs."""
    try:
        text = _literal(prompt, value)
    except _UnclearError:
        return ""
    return text if isinstance(text, str) else ""


def _literal(prompt: Mapping[str, Any], value: Any) -> Any:
    """What a widget holds; when it was made an input, what the constant holds that is linked to it."""
    for _ in range(_MAX_LINKS):
        if not isinstance(value, list):
            return value
        node = prompt.get(str(value[0])) if value else None
        kind = str(node.get("class_type")) if isinstance(node, Mapping) else ""
        inputs = node.get("inputs") if isinstance(node, Mapping) else None
        # Only nodes that hand on what they hold: any other may make something else of it.
        if not _CONSTANT.search(kind) or not isinstance(inputs, Mapping) or len(inputs) != 1:
            raise _UnclearError(f"node {value[0] if value else '?'} ({kind or 'not in the graph'})")
        value = next(iter(inputs.values()))
    raise _UnclearError("a chain of links without an end")
