"""Which rows of one reading of the sheet have a task that is at work on them, or whose result has to reach them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..wording import Wording
from .index import TaskEntry
from .records import TaskRecord, WorkflowStatus
from .row_identity import RowIdentity, RowIndex, identity_of, pictures_differ, resembles
from .rows import row_data_of
from .values import FeishuState


@dataclass(frozen=True)
class RowTask:
    """A task, and the row of the reading that it stands in."""

    task: TaskEntry
    row_number: int
    #: a person has changed the row since: what becomes of the result has to be decided
    changed: bool = False


def index_of(rows: Sequence[Any]) -> RowIndex:
    """The rows of one reading, as programs hand them on, to look for the rows of tasks."""
    return RowIndex({row.row_number: identity_of(row_data_of(row)) for row in rows})


def unsettled(entries: Sequence[TaskEntry], kind: str) -> Iterator[TaskEntry]:
    """The tasks of a workflow that are at work on their row, or whose result has to be pushed; oldest first. `entries`:
    newest first, as the index has them."""
    return (entry for entry in reversed(entries) if entry.workflow_type == kind and keeps_row(entry))


def tasks_of_rows(index: RowIndex, tasks: Sequence[TaskEntry]) -> list[RowTask]:
    """Where each task stands: in the row of its number, else in a row that looks the same and that no other has, else
    in the row of its number that was changed. `tasks`: see `unsettled`."""
    places = [(task, may_be(task.identity, index)) for task in tasks]
    stands_in = {task.task_id: task.row_number for task, numbers in places if task.row_number in numbers}
    taken = set(stands_in.values())
    for task, numbers in places:
        free = [number for number in numbers if number not in taken]
        if task.task_id not in stands_in and free:
            stands_in[task.task_id] = free[0]
            taken.add(free[0])
    found = [RowTask(task, number) for task, _ in places if (number := stands_in.get(task.task_id)) is not None]
    for task, numbers in places:
        number = task.row_number
        free_again = number in index.rows.keys() - taken
        if number is not None and not numbers and free_again and resembles(task.identity, index.rows[number]):
            found.append(RowTask(task, number, changed=True))
            taken.add(number)
    return found


def may_be(wanted: RowIdentity, index: RowIndex) -> list[int]:
    """The rows that may be this one, as far as anybody can tell: in doubt nothing is paid for twice."""
    return [number for number in index.may_be(wanted) if not pictures_differ(wanted, index.rows[number])]


def keeps_row(task: TaskRecord | TaskEntry) -> bool:
    """Whether a row has this task: it is at work on it, or its result still has to be pushed."""
    open_entry = task.feishu_state in (FeishuState.PENDING, FeishuState.BLOCKED)
    return (
        task.row_number is not None
        and task.status is not WorkflowStatus.FAILED
        and (open_entry or not task.stage.final)
    )


def changed_row(task: TaskRecord | TaskEntry, number: int | None) -> Wording:
    """What is said of a row that a person has changed while its task was at work on it."""
    return Wording(
        f"row {number} was changed while {task.task_id} is at work on it, or its result waits: it is not rendered "
        f"again before that is decided → wfrecovery decide {task.task_id}",
        f"第 {number} 行在 {task.task_id} 处理期间（或结果等待推送时）被修改：在决定之前不会重新生成"
        f" → wfrecovery decide {task.task_id}",
    )
