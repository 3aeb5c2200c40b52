"""An accepted prompt as a record, with its graph in a file of its own; and the changes that its running makes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ...bridge.redact import redact, without_secrets
from ...bridge.table.manager import DatabaseManager, new_metadata
from ...bridge.table.records import FeishuState, Stage, TaskError, TaskRecord, now_text
from .item import QueueItem
from .row_tag import RowTag
from .title import title_of

log = logging.getLogger("wfrecovery")


def record_prompt(
    db: DatabaseManager,
    item: QueueItem,
    tag: RowTag,
    task_id: str,
    *,
    boot: str,
    started: bool,
    sensitive_keys: Sequence[str],
) -> TaskRecord:
    """Write graph and record of an accepted prompt, new or queued again. `started`: it runs already.

    Raises TaskError, or OSError.
    """
    queue = {"boot": boot, "number": item.number, "queued_at": now_text()}
    graph = _graph(item, tag, sensitive_keys)
    try:
        db.table.get(task_id)
    except TaskError:
        metadata = new_metadata(Stage.QUEUED, tag.feishu_row_data, has_row=tag.row_number is not None)
        metadata["queue"] = queue
        if tag.row_number is None:
            metadata["title"] = redact(title_of(item.prompt))
        if tag.problem:
            metadata["error_message"] = tag.problem
            log.warning("[wfrecovery] %s runs as a prompt without a row: %s", task_id, tag.problem)
        record = TaskRecord(task_id, comfyui_task_id=item.prompt_id, metadata=metadata, **_row_fields(tag))
        return db.table.create(as_started(record) if started else record, graph)
    db.table.write_graph(task_id, graph, replace=True)
    return db.table.update(task_id, lambda task: _queued(task, item.prompt_id, queue, started))


def _graph(item: QueueItem, tag: RowTag, sensitive_keys: Sequence[str]) -> dict[str, Any]:
    row = {
        **_row_fields(tag),
        "metadata": new_metadata(Stage.QUEUED, tag.feishu_row_data, has_row=tag.row_number is not None),
    }
    return {
        "prompt_id": item.prompt_id,
        "prompt": item.prompt,
        "extra_data": without_secrets(item.extra_data, sensitive_keys),
        "outputs_to_execute": list(item.outputs),
        "task": row,
    }


def _row_fields(tag: RowTag) -> dict[str, Any]:
    return {
        "row_number": tag.row_number,
        "product_name": tag.product_name,
        "model_name": tag.model_name,
        "workflow_type": tag.workflow_type,
    }


def _queued(task: TaskRecord, prompt_id: str, queue: Mapping[str, Any], started: bool) -> TaskRecord:
    record = task.entering(Stage.QUEUED, comfyui_task_id=prompt_id, error_message=None, output_files=())
    metadata = {key: value for key, value in record.metadata.items() if key not in ("node_outputs", "finished_at")}
    metadata["queue"] = queue
    if task.row_number is not None:
        metadata["feishu"] = {**record.feishu, "state": FeishuState.PENDING.value}
    record = dataclasses.replace(record, metadata=metadata)
    return as_started(record) if started else record


def as_started(task: TaskRecord) -> TaskRecord:
    """`task` as ComfyUI begins to run it: one attempt more."""
    return task.entering(Stage.RUNNING).with_metadata(attempts=task.attempts + 1, processing_start_time=now_text())


def with_node_outputs(task: TaskRecord, *, node: str, files: list[str]) -> TaskRecord:
    """`task` with the files that ComfyUI has reported of one node."""
    if task.stage.final:
        return task
    return task.with_metadata(node_outputs={**task.metadata.get("node_outputs", {}), node: files})
