"""A record as JSON: with `value_json.py`, the one place that reads and writes it.

What cannot be read of the parts that are only shown (story, place in the queue) is kept as it is and does no harm; what
decides something (stage, attempts, outbox state, results) makes the record unreadable, so that it is set aside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .records import (
    KINDS,
    SCHEMA,
    NewerSchemaError,
    RecordError,
    Stage,
    TaskRecord,
    WorkflowStatus,
)
from .row_identity import RowIdentity
from .value_json import (
    Reader,
    flag,
    json_list,
    json_object,
    number,
    one,
    plain,
    text,
    texts,
    value_from_json,
    value_to_json,
)
from .values import FeishuState, NodeReport, Outbox, Owner, QueuePlace, Result, StoryLine

# ---------------------------------------------------------------------- writing


def record_to_json(record: TaskRecord) -> dict[str, Any]:
    """The fields in the order of the specification. Nothing in it that JSON does not know (NaN, Infinity)."""
    data = {
        "schema": SCHEMA,
        "revision": record.revision,
        "task_id": record.task_id,
        "row_number": record.row_number,
        "product_name": record.product_name,
        "model_name": record.model_name,
        "workflow_type": record.workflow_type,
        "status": record.status.value,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "comfyui_task_id": record.comfyui_task_id,
        "output_files": list(record.output_files),
        "error_message": record.error_message,
        "metadata": _metadata_to_json(record),
    }
    return {**data, **plain({key: value for key, value in record.rest.items() if key not in data})}


def _metadata_to_json(record: TaskRecord) -> dict[str, Any]:
    # what could not be read stands as it came until there is a value of ours
    unread = record.more.keys() & {"feishu_row_data", "processing_start_time"}
    data: dict[str, Any] = {
        "feishu_row_data": plain(record.row_data) or (None if "feishu_row_data" in unread else {}),
        "processing_start_time": record.started_at,
        "attempts": record.attempts,
        "stage": record.stage.value,
        "feishu": outbox_to_json(record.outbox),
        "row": None if record.row is None else value_to_json(record.row),
        "earlier_runs": record.earlier_runs or None,
        "cut_off": record.cut_off or None,
        "finished_at": record.finished_at,
        "error_message_zh": record.error_message_zh,
        "title": record.title,
        # why a prompt that wanted a row has none
        "error_message": record.problem,
        "adopted": record.adopted or None,
        "rebuilt_at": record.rebuilt_at,
        "queue": None if record.queue is None else value_to_json(record.queue),
        "owner": None if record.owner is None else value_to_json(record.owner),
        "engine": record.engine,
        **{name: getattr(record, name) for name in _NAMES},
        "refused_by": list(record.refused_by) or None,
        "results": [value_to_json(result) for result in record.results] or None,
        "unlisted": record.unlisted or None,
        "nodes": {node: value_to_json(report) for node, report in record.nodes.items()} or None,
        "found": list(record.found) or None,
        "story": [value_to_json(line) for line in record.story] or None,
    }
    always = {"feishu_row_data", "processing_start_time", "attempts", "stage", "feishu"} - unread
    kept = {key: value for key, value in data.items() if value is not None or key in always}
    return {**kept, **plain({key: value for key, value in record.more.items() if key not in kept})}


def outbox_to_json(outbox: Outbox) -> dict[str, Any]:
    """`metadata.feishu`."""
    always = {"state": outbox.state.value, "attempts": 0, "last_error": None, "pushed_at": None}
    return {**always, **value_to_json(outbox)}


# ---------------------------------------------------------------------- reading


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise RecordError(what)


def record_from_json(data: Any, task_id: str) -> TaskRecord:
    """The record in `data`, read from the file of `task_id`; raises RecordError that says what is wrong."""
    _require(isinstance(data, dict), "not a JSON object")
    schema = data.get("schema")
    _require(isinstance(schema, int) and not isinstance(schema, bool) and schema >= 1, f"schema is {schema!r}")
    if schema > SCHEMA:
        raise NewerSchemaError(f"schema {schema} is newer than this wfrecovery (it knows {SCHEMA})")
    _require(data.get("task_id") == task_id, f"it names task {data.get('task_id')!r}")
    _require(type(data.get("revision")) is int, "revision is not a number")
    row = data.get("row_number")
    _require(row is None or (type(row) is int and row > 0), f"row_number is {row!r}")
    _require(data.get("workflow_type") in _KINDS, f"workflow_type is {data.get('workflow_type')!r}")
    _require(data.get("status") in _STATUSES, f"status is {data.get('status')!r}")
    files = data.get("output_files")
    _require(isinstance(files, list) and all(isinstance(name, str) for name in files), "output_files is not a list")
    metadata = data.get("metadata")
    _require(isinstance(metadata, dict), "metadata is not an object")
    for name in ("product_name", "model_name", "created_at", "updated_at"):
        _require(isinstance(data.get(name), str), f"{name} is not a text")
    for name in ("comfyui_task_id", "error_message"):
        _require(data.get(name) is None or isinstance(data.get(name), str), f"{name} is not a text")
    status = WorkflowStatus(data["status"])
    return TaskRecord(
        task_id=task_id,
        revision=data["revision"],
        row_number=row,
        product_name=data["product_name"],
        model_name=data["model_name"],
        workflow_type=data.get("workflow_type"),
        created_at=data["created_at"],
        updated_at=data["updated_at"],
        comfyui_task_id=data.get("comfyui_task_id"),
        error_message=data.get("error_message"),
        rest={key: value for key, value in data.items() if key not in _FIELDS},
        **_metadata_from_json(metadata, status, files),
    )


def parsed(data: Any) -> TaskRecord:
    """The record in another program's answer, a newer one's as far as we know its words; raises RecordError.

    It is only looked at: nothing of it that we do not know can be lost.
    """
    if not isinstance(data, Mapping):
        raise RecordError("not a JSON object")
    schema = data.get("schema")
    newer = type(schema) is int and schema > SCHEMA
    return record_from_json({**data, "schema": SCHEMA if newer else schema}, str(data.get("task_id")))


def row_in(answer: Mapping[str, Any], name: str = "feishu_row_data") -> dict[str, Any]:
    """The row's cells, or what tells it apart (`row`), in a record's JSON, which may be somebody's own; else empty."""
    row = _metadata_in(answer).get(name)
    return dict(row) if isinstance(row, Mapping) else {}


def publishing_in(answer: Mapping[str, Any]) -> dict[str, str]:
    """Who delivers, where to, and in whose name, as far as a record's JSON says so."""
    found = {name: _metadata_in(answer).get(name) for name in ("publisher", "document", "sheet", "batch")}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def delivery_in(answer: Mapping[str, Any]) -> Outbox | None:
    """How far another program is with delivering the record that it answers with; None where we cannot read that."""
    try:
        return outbox_from_json(_metadata_in(answer).get("feishu"))
    except RecordError:
        return None


def _metadata_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = answer.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _metadata_from_json(metadata: Mapping[str, Any], status: WorkflowStatus, files: Sequence[str]) -> dict[str, Any]:
    """The fields that stand under `metadata`. A person who edits a record edits the status: it wins over the stage."""
    _require(type(metadata.get("attempts", 0)) is int, "metadata.attempts is not a number")
    stage = metadata.get("stage")
    if stage not in _STAGES or Stage(stage).status is not status:
        stage = _STAGE_OF_STATUS[status].value
    found: dict[str, Any] = {
        "stage": Stage(stage),
        "attempts": metadata.get("attempts", 0),
        "outbox": outbox_from_json(metadata.get("feishu", {})),
        "results": _results(metadata.get("results", []), files),
    }
    more = {key: value for key, value in metadata.items() if key not in ("attempts", "stage", "feishu", "results")}
    for key, (name, reader) in _METADATA.items():
        if key in more:
            try:
                found[name] = reader(more[key])
            except (ValueError, TypeError, KeyError):
                continue  # only shown: kept as it is
            del more[key]
    if isinstance(more.get("node_outputs"), dict) and "nodes" not in found:  # as schema 1 had it
        found["nodes"] = _old_nodes(more.pop("node_outputs"))
    return {**found, "more": more}


def outbox_from_json(data: Any) -> Outbox:
    """`metadata.feishu`; raises RecordError."""
    _require(isinstance(data, Mapping) and data.get("state", "off") in _STATES, "metadata.feishu is not an outbox")
    return value_from_json(Outbox, data)


def _results(data: Any, files: Sequence[str]) -> tuple[Result, ...]:
    """What is known of each of the output files; of one that a person has entered no more than its name."""
    _require(isinstance(data, list) and all(isinstance(item, Mapping) for item in data), "metadata.results is no list")
    _require(all(isinstance(item.get("path"), str) for item in data), "metadata.results names no path")
    known = {item["path"]: value_from_json(Result, item) for item in data}
    return tuple(known.get(path) or Result(path) for path in files)


def _owner(value: Any) -> Owner | None:
    """One whose token we cannot read is somebody of whom nothing proves whether he lives: he is waited for."""
    told = value if isinstance(value, dict) else {}
    named = {name: told[name] if isinstance(told.get(name), str) else "" for name in ("kind", "boot")}
    return None if value is None else value_from_json(Owner, {**told, **named})


def _story(value: Any) -> tuple[StoryLine, ...]:
    """What is no object among the lines tells nothing; it costs no other line."""
    lines = tuple(value_from_json(StoryLine, item) for item in json_list(value) if isinstance(item, dict))
    if not lines:
        raise ValueError(value)
    return lines


def _nodes(value: Any) -> dict[str, NodeReport]:
    return {str(node): value_from_json(NodeReport, json_object(report)) for node, report in json_object(value).items()}


def _old_nodes(outputs: Mapping[str, Any]) -> dict[str, NodeReport]:
    """Schema 1 noted the files of a node when it had ended."""
    return {
        str(node): NodeReport(tuple(Result(path) for path in paths if isinstance(path, str)), done=True)
        for node, paths in outputs.items()
        if isinstance(paths, list)
    }


_NAMES: Final = ("cancel_requested", "sending", "batch", "publisher", "document", "sheet", "twin")
#: Key under `metadata` → field of the record, and how it is read.
_METADATA: Final[Mapping[str, tuple[str, Reader]]] = {
    "feishu_row_data": ("row_data", json_object),
    "processing_start_time": ("started_at", lambda value: None if value is None else text(value)),
    "row": ("row", one(RowIdentity)),
    **{name: (name, number) for name in ("earlier_runs", "unlisted", "cut_off")},
    **{name: (name, text) for name in ("finished_at", "error_message_zh", "title", "rebuilt_at", "engine")},
    "error_message": ("problem", text),
    "adopted": ("adopted", flag),
    "queue": ("queue", one(QueuePlace)),
    "owner": ("owner", _owner),
    **{name: (name, text) for name in _NAMES},
    **{name: (name, texts) for name in ("refused_by", "found")},
    "nodes": ("nodes", _nodes),
    "story": ("story", _story),
}
#: Made once: thousands of records are read when a program starts.
_FIELDS: Final = frozenset(record_to_json(TaskRecord("img_20261123_001")))
_KINDS: Final = tuple(KINDS)
_STATUSES: Final = tuple(item.value for item in WorkflowStatus)
_STAGES: Final = tuple(item.value for item in Stage)
_STATES: Final = tuple(item.value for item in FeishuState)
_STAGE_OF_STATUS: Final = {
    WorkflowStatus.IN_PROGRESS: Stage.QUEUED,
    WorkflowStatus.COMPLETED: Stage.FINISHED,
    WorkflowStatus.FAILED: Stage.FAILED,
}
