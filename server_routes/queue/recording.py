"""An accepted prompt as a record, with its graph in a file of its own; and the changes that its running makes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...bridge.redact import redact, without_secret_texts
from ...bridge.results.expected import expected_files
from ...bridge.table.changes import new_task, started
from ...bridge.table.limits import bounded
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.publishers import Naming, addressed, named
from ...bridge.table.record_json import record_to_json
from ...bridge.table.records import Stage, TaskError, TaskRecord, now_text, stage_zh
from ...bridge.table.values import NodeReport, OwnerKind, QueuePlace, Result
from ...bridge.wording import Wording
from ..host import Host
from .item import QueueItem
from .row_tag import RowTag
from .title import title_of

log = logging.getLogger("wfrecovery")


#: By which the records of every ComfyUI that shares the table name who renders.
ENGINE: Final = "comfyui"


class NotToRunError(TaskError):
    """The prompt must not run here: a person wants its end, it has ended, or another process is at work on it."""


def record_prompt(
    db: DatabaseManager,
    item: QueueItem,
    tag: RowTag,
    task_id: str,
    *,
    boot: str,
    runs: bool,
    sensitive_keys: Sequence[str],
    files: Mapping[str, int | None],
    document: str | None,
) -> TaskRecord:
    """Write graph and record of an accepted prompt, new or queued again; this process is at work on it from now on.
    `runs`: it runs already; `files`: how many each output node will write; `document`: what is delivered to here.

    Raises NotToRunError, another TaskError, or OSError.
    """
    queue = QueuePlace(boot, item.number, now_text())
    fresh = _addressed(db, tag, document, _new(item, tag, task_id))
    graph = _graph(item, fresh, sensitive_keys, files)
    try:
        db.table.get(task_id)
    except TaskError:
        record = dataclasses.replace(fresh, queue=queue, owner=db.owners.me, engine=ENGINE)
        return db.table.create(_begun(db, record) if runs else record, graph)

    def queued(task: TaskRecord) -> TaskRecord:
        check_may_run(db, task, handed_over=True)
        boot, number = (task.queue or QueuePlace()).turn
        kept = dataclasses.replace(queue, lost_boot=boot, lost_number=number)
        record = dataclasses.replace(_queued(db.settled(task), item.prompt_id, kept), owner=db.owners.me)
        record = _addressed(db, tag, document, record)
        return _begun(db, record) if runs else record

    with db.table.locked():  # the graph of a task that is somebody else's by now stays as it is
        record = db.table.update(task_id, queued)
        db.table.write_graph(task_id, graph, replace=True)
    return record


def check_may_run(db: DatabaseManager, task: TaskRecord, *, handed_over: bool = False) -> None:
    """Raise NotToRunError where it must not be queued or started here; `handed_over`: it comes in just now, from who is
    no ComfyUI and was at work on it until then. Under the table's lock."""
    if task.cancel_requested or task.stage is Stage.CANCELLED:
        raise NotToRunError(
            Wording(f"{task.task_id} was cancelled: it does not run", f"{task.task_id} 已取消，不再运行")
        )
    if task.stage.final:
        raise NotToRunError(
            Wording(
                f"{task.task_id} is {task.stage.value} already: it does not run again",
                f"{task.task_id} {stage_zh(task.stage)}，不再运行",
            )
        )
    owner = db.owners.other_at_work(task)
    if owner is not None and not (handed_over and owner.kind != OwnerKind.COMFYUI):
        name = db.owners.name_of(owner)
        raise NotToRunError(
            Wording(
                f"{task.task_id} is {name.en}'s: it does not run here",
                f"{task.task_id} 由 {name.zh} 处理，不在这里运行",
            )
        )


def starting(db: DatabaseManager, task: TaskRecord) -> TaskRecord:
    """`task` as it begins to run here. Raises NotToRunError."""
    check_may_run(db, task)
    return _begun(db, dataclasses.replace(db.settled(task), owner=db.owners.me))


def _begun(db: DatabaseManager, task: TaskRecord) -> TaskRecord:
    """One attempt more, and in whom: how that one ends tells whether the attempt counts."""
    queue = dataclasses.replace(task.queue or QueuePlace(), started_by=db.owners.me.boot)
    return started(dataclasses.replace(task, queue=queue))


def files_of(item: QueueItem, host: Host) -> dict[str, int | None]:
    """How many files each output node will write; None where nobody can tell. After a crash its class may be gone."""
    try:
        outputs = (*item.outputs, *item.left_out)
        return expected_files(item.prompt, outputs, host.node_classes(item.prompt), host.frames_of)
    except Exception as error:
        log.debug("[wfrecovery] how many files %s makes cannot be told: %s", item.prompt_id, error)
        return dict.fromkeys(item.outputs)


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
        row=tag.row,
        batch=tag.batch,
        title=redact(title_of(item.prompt)) if tag.row_number is None else None,
        problem=tag.problem,
    )


def keep_graph(db: DatabaseManager, item: QueueItem, task_id: str, host: Host) -> None:
    """Write the graph of a recorded prompt again where somebody has deleted it. Raises OSError and TaskError."""
    if not db.table.files.disk.exists(db.table.files.graph_path(task_id)):
        log.warning("[wfrecovery] the graph of %s is gone: it is written anew", task_id)
        graph = _graph(item, db.table.get(task_id), host.sensitive_keys, files_of(item, host))
        db.table.write_graph(task_id, graph)


def _graph(
    item: QueueItem, task: TaskRecord, sensitive_keys: Sequence[str], files: Mapping[str, int | None]
) -> dict[str, Any]:
    """The graph file; `task` is what a damaged record is rebuilt from."""
    names = ("row_number", "product_name", "model_name", "workflow_type", "metadata")
    told = record_to_json(bounded(task))
    return {
        "prompt_id": item.prompt_id,
        "prompt": _as_sent(item.prompt),
        "extra_data": without_secret_texts(item.extra_data, sensitive_keys),
        "outputs_to_execute": [*item.outputs, *item.left_out],  # without one of them it is neither whole nor queued
        "task": {name: told[name] for name in names},
        "files": dict(files),
    }


def _as_sent(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Without what ComfyUI notes in it as it runs: a node that is sent along with that is not asked any more whether
    it has changed."""
    return {
        node_id: {name: value for name, value in tuple(node.items()) if name != "is_changed"}  # it may be running
        if isinstance(node, Mapping)
        else node
        for node_id, node in prompt.items()
    }


def _queued(task: TaskRecord, prompt_id: str, queue: QueuePlace) -> TaskRecord:
    return task.with_results(()).entering(
        Stage.QUEUED,
        comfyui_task_id=prompt_id,
        error_message=None,
        error_message_zh=None,
        finished_at=None,
        nodes={},
        queue=queue,
        engine=ENGINE,
        sending=None,  # it has arrived
        refused_by=(),
    )


def _addressed(db: DatabaseManager, tag: RowTag, document: str | None, task: TaskRecord) -> TaskRecord:
    """`task` with who delivers it, as it was named when it was submitted; left to that one, where it is another
    table."""
    sent_from = tag.table or tag.publisher
    table_id = db.table.keep_table_id() if sent_from or task.publisher else None
    twin = None if sent_from == table_id else sent_from
    return addressed(named(Naming(tag.publisher, tag.document, twin, tag.sheet), task), table_id, document)


def going_on(db: DatabaseManager, task: TaskRecord) -> TaskRecord:
    """`task` as one of its later parts begins: its attempt is counted. Raises NotToRunError."""
    check_may_run(db, task)
    return task.entering(Stage.RUNNING)


def with_node(
    task: TaskRecord, *, node: str, results: tuple[Result, ...] | None = None, done: bool | None = None
) -> TaskRecord:
    """`task` with what ComfyUI has said of one node: the files that it wrote, or that it has ended."""
    if task.stage.final:
        return task
    report = task.nodes.get(node, NodeReport())
    if results is not None:
        named = {result.path for result in results}
        before = tuple(result for result in report.results if result.path not in named)
        report = dataclasses.replace(report, results=(*before, *results))
    if done is not None:
        report = dataclasses.replace(report, done=report.done or done)
    return dataclasses.replace(task, nodes={**task.nodes, node: report})


def with_part(task: TaskRecord, *, prompt_id: str) -> TaskRecord:
    """`task` as it goes on under one more prompt_id: a node has queued its own prompt again."""
    queue = task.queue or QueuePlace()
    return dataclasses.replace(task, queue=dataclasses.replace(queue, parts=(*queue.parts, prompt_id)))


def with_hashes(task: TaskRecord, *, hashes: Mapping[str, str]) -> TaskRecord:
    """`task` with hashes of files that were too large to be read before the next prompt."""
    results = tuple(
        dataclasses.replace(result, sha256=hashes.get(result.path)) if result.sha256 is None else result
        for result in task.results
    )
    return dataclasses.replace(task, results=results)
