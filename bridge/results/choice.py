"""Which of a task's files is delivered: chosen by kind; of several the one behind Row Task, else the last."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..inside import inside
from ..table.content import opened
from ..table.records import TaskRecord, WorkflowType
from ..table.values import Kind, Result
from ..wording import Wording
from .formats import kind_of

#: The node that says which row a graph is for.
ROW_TASK: Final = "WfrecoveryRowTask"
#: What a workflow makes, the first choice first: a film may also be an animated picture.
_WANTED: Final[Mapping[str | None, tuple[Kind, ...]]] = {
    WorkflowType.IMAGE_COMPOSITION.value: (Kind.PICTURE,),
    WorkflowType.IMAGE_TO_VIDEO.value: (Kind.VIDEO, Kind.PICTURE),
    None: (Kind.PICTURE, Kind.VIDEO, Kind.AUDIO),
}
#: How far into a picture the mark of an animation is looked for; all formats have it before the first frame.
_HEAD: Final = 256 * 1024
_ANIMATED: Final = (b"acTL", b"ANIM", b"NETSCAPE2.0")


def chosen(task: TaskRecord, output_dir: Path, row_nodes: Iterable[str] = ()) -> Result | None:
    """The file to deliver; None where the task has none of the kind that its workflow makes.

    `row_nodes`: the nodes whose files are the row's, because Row Task names them.
    """
    if task.outbox.file is not None:
        return next((result for result in task.results if result.path == task.outbox.file), None)
    for kind in wanted_kinds(task):
        fitting = [result for result in task.results if _kind(output_dir, result) is kind]
        if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value and kind is Kind.PICTURE:
            fitting = [result for result in fitting if _is_animated(inside(output_dir, result.path))]
        if fitting:
            behind = [result for result in fitting if result.node is not None and result.node in set(row_nodes)]
            return (behind or fitting)[-1]
    return None


def wanted_kinds(task: TaskRecord) -> tuple[Kind, ...]:
    """What its workflow makes, the first choice first."""
    return _WANTED[task.workflow_type]


def fits(task: TaskRecord, output_dir: Path, result: Result) -> bool:
    """Whether a file alone would be what is delivered."""
    alone = dataclasses.replace(task.with_outbox(file=None), results=(result,))
    return chosen(alone, output_dir) is not None


def row_nodes_of(prompt: Mapping[str, Any]) -> list[str]:
    """The nodes that take something from a Row Task node, its file name above all."""
    row_tasks = {
        node_id for node_id, node in prompt.items() if isinstance(node, Mapping) and node.get("class_type") == ROW_TASK
    }
    return [str(node_id) for node_id, node in prompt.items() if row_tasks & _linked(node)]


def none_fits(task: TaskRecord) -> Wording:
    """Why nothing of what a task made can be delivered."""
    names = ", ".join(result.path for result in task.results[:5]) or "–"
    video = task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value
    wanted, gesucht = ("video", "视频") if video else ("picture", "图片")
    return Wording(
        f"the task made no {wanted} (its files: {names}) → look at the workflow's save node, then render the row again",
        f"任务没有生成{gesucht}（文件：{names}）→ 请检查工作流的保存节点，再重新生成该行",
    )


def _linked(node: Any) -> set[str]:
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    values: Sequence[Any] = list(inputs.values()) if isinstance(inputs, Mapping) else []
    return {str(value[0]) for value in values if isinstance(value, list) and len(value) == 2}


def _kind(output_dir: Path, result: Result) -> Kind:
    path = inside(output_dir, result.path)
    return result.kind or (kind_of(path) if path is not None else Kind.OTHER)


def _is_animated(path: Path | None) -> bool:
    if path is None:
        return False
    try:
        with opened(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return any(mark in head for mark in _ANIMATED)
