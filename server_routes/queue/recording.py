"""An accepted prompt as a record, with its graph in a file of its own; and the changes that its running makes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from ...bridge.redact import redact, without_secrets
from ...bridge.table.manager import DatabaseManager, new_task
from ...bridge.table.record_json import record_to_json
from ...bridge.table.records import Stage, TaskError, TaskRecord, now_text
from ...bridge.table.values import FeishuState, NodeReport, QueuePlace, Result
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
    queue = QueuePlace(boot, item.number, now_text())
    fresh = _new(item, tag, task_id)
    graph = _graph(item, fresh, sensitive_keys)
    try:
        db.table.get(task_id)
    except TaskError:
        record = dataclasses.replace(fresh, queue=queue)
        return db.table.create(as_started(record) if started else record, graph)
    db.table.write_graph(task_id, graph, replace=True)
    return db.table.update(task_id, lambda task: _queued(task, item.prompt_id, queue, started))


def _new(item: QueueItem, tag: RowTag, task_id: str) -> TaskRecord:
    """The record of a prompt that nobody has recorded."""
    if tag.problem:
        log.warning("[wfrecovery] %s runs as a prompt without a row: %s", task_id, tag.problem)
    return new_task(
        task_id,
        Stage.QUEUED,
        row_number=tag.row_number,
        product_name=tag.product_name,
        model_name=tag.model_name,
        workflow_type=tag.workflow_type,
        comfyui_task_id=item.prompt_id,
        row_data=tag.feishu_row_data,
        title=redact(title_of(item.prompt)) if tag.row_number is None else None,
        problem=tag.problem,
    )


def _graph(item: QueueItem, task: TaskRecord, sensitive_keys: Sequence[str]) -> dict[str, Any]:
    """The graph file; `task` is what a damaged record is rebuilt from."""
    names = ("row_number", "product_name", "model_name", "workflow_type", "metadata")
    told = record_to_json(task)
    return {
        "prompt_id": item.prompt_id,
        "prompt": item.prompt,
        "extra_data": without_secrets(item.extra_data, sensitive_keys),
        "outputs_to_execute": list(item.outputs),
        "task": {name: told[name] for name in names},
    }


def _queued(task: TaskRecord, prompt_id: str, queue: QueuePlace, started: bool) -> TaskRecord:
    record = task.entering(
        Stage.QUEUED,
        comfyui_task_id=prompt_id,
        error_message=None,
        error_message_zh=None,
        finished_at=None,
        results=(),
        nodes={},
        queue=queue,
    )
    if task.row_number is not None:
        record = record.with_outbox(state=FeishuState.PENDING)
    return as_started(record) if started else record


def as_started(task: TaskRecord) -> TaskRecord:
    """`task` as ComfyUI begins to run it: one attempt more."""
    return task.entering(Stage.RUNNING, attempts=task.attempts + 1, started_at=now_text())


def with_node_outputs(task: TaskRecord, *, node: str, results: tuple[Result, ...]) -> TaskRecord:
    """`task` with the files that ComfyUI has reported of one node."""
    if task.stage.final:
        return task
    return dataclasses.replace(task, nodes={**task.nodes, node: NodeReport(results, done=True)})
