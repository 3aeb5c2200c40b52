"""Which rows have a task that is at work on them, or whose result has to reach them: they are neither rendered nor
entered a second time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..settings import Columns
from ..wording import Wording
from .cells import cell_text, words_in
from .index import TaskEntry, TaskIndex
from .owners import Owners
from .records import Stage, TaskError, TaskRecord, WorkflowStatus, is_task_id
from .row_identity import RowIdentity, RowIndex, identity_of, pictures_differ, resembles
from .row_places import Known, Places, is_numbered, keeps_row, made_of_its_row, places_of
from .rows import RowData, number_of, row_data_of

log = logging.getLogger("wfrecovery")


#: See `TableFiles.newer`.
Newer = Callable[[Known], Sequence[TaskRecord]]


@dataclass(frozen=True)
class RowTask:
    """A task, and the row of the reading that it stands in."""

    task: TaskEntry
    row_number: int
    #: a person has changed the row since, or it is in doubt: what becomes of the result has to be decided
    changed: bool = False


def index_of(rows: Sequence[Any]) -> RowIndex:
    """The rows of one reading, as programs hand them on, to look for the rows of tasks."""
    read = [row_data_of(row) for row in rows]
    return RowIndex(
        {row.row_number: identity_of(row) for row in read}, {row.row_number: _task_ids(row) for row in read}
    )


def unsettled(entries: Sequence[TaskEntry], kind: str, read_at: float = math.inf) -> Iterator[TaskEntry]:
    """The tasks of a workflow that are at work on their row, or whose result has to be pushed, or had to when the sheet
    was read (`read_at`): that does not show it yet. Oldest first. `entries`: newest first, as the index has them."""
    return (
        entry
        for entry in reversed(entries)
        if entry.workflow_type == kind and (keeps_row(entry) or (entry.pushed_at >= read_at and _is_done(entry)))
    )


def _is_done(task: TaskEntry) -> bool:
    return task.row_number is not None and task.status is WorkflowStatus.COMPLETED


def tasks_of_rows(index: RowIndex, tasks: Sequence[TaskEntry], known: Known) -> list[RowTask]:
    """Where each task stands: in the row that carries its number, or looks the same; of several in that of its row
    number, else in one that no other has. Then what was changed: a row with its number that says something else, or
    what a person may have made of its row. `tasks`: see `unsettled`; `known`: see `places_of`."""
    places = [(task, places_of(task, index, known)) for task in tasks]
    likely = {task.task_id: may_be(task, where.rows or where.elsewhere, index) for task, where in places}
    stands_in = {task.task_id: task.row_number for task, _ in places if task.row_number in likely[task.task_id]}
    taken = set(stands_in.values())
    for task, _ in places:
        free = [number for number in likely[task.task_id] if number not in taken]
        if task.task_id not in stands_in and free:
            stands_in[task.task_id] = free[0]
            taken.add(free[0])
    found = [RowTask(task, number) for task, _ in places if (number := stands_in.get(task.task_id)) is not None]
    for task, where in places:
        if not keeps_row(task):  # a row that was changed wants another result
            continue
        against = [number for number in _against(task, where, index) if number not in taken]
        if not against and not likely[task.task_id]:
            against = [number for number in made_of_its_row(task, index) if number not in taken][:1]
        taken.update(against)
        found += [RowTask(task, number, changed=True) for number in against]
    return found


def may_be(task: TaskEntry, numbers: Sequence[int], rows: RowIndex) -> list[int]:
    """Those of some rows whose pictures nobody has replaced, as far as anybody can tell: in doubt nothing is paid for
    twice."""
    return [number for number in numbers if not pictures_differ(task.identity, rows.rows[number])]


def changed_row(task: TaskRecord | TaskEntry, number: int | None) -> Wording:
    """What is said of a row that a person has changed while its task was at work on it."""
    return Wording(
        f"row {number} was changed while {task.task_id} is at work on it, or its result waits: it is not rendered "
        f"again before that is decided → wfrecovery decide {task.task_id}",
        f"第 {number} 行在 {task.task_id} 处理期间（或结果等待推送时）被修改：在决定之前不会重新生成"
        f" → wfrecovery decide {task.task_id}",
    )


def of_newer(task: TaskEntry, number: int | None) -> Wording:
    """What is said of a row whose task this program cannot read."""
    return Wording(
        f"row {number} is left to {task.task_id}, which a newer wfrecovery has entered and not ended: it would be paid "
        "for twice → use that version again, here as well",
        f"第 {number} 行属于 {task.task_id}，它由更新版本的 wfrecovery 录入且尚未结束，再生成会重复付费"
        " → 请在这里也使用那个版本",
    )


class RowTasks:
    """The rows of one table's tasks, as one program has read them. Not for several threads."""

    def __init__(
        self,
        index: TaskIndex,
        look: Callable[[str], TaskRecord | None],
        owners: Owners,
        newer: Newer,
        here: Callable[[Iterable[TaskEntry]], list[TaskEntry]],
    ) -> None:
        """`look`: a task's record as it is now. `here`: of some tasks those whose rows may stand in the sheet that rows
        are read from."""
        self._index, self._look, self._owners, self._newer, self._here = index, look, owners, newer, here
        #: task id → the number of its row by the newest reading that this program has worked with
        self._stands_in: dict[str, int] = {}
        #: workflow → the rows that were left for it then
        self._left: dict[str, Mapping[int, RowIdentity]] = {}

    def without(self, rows: Sequence[RowData], kind: str) -> list[RowData]:
        """`rows`, of one reading of the sheet, without those that a task of this workflow keeps, or has kept until its
        result came into the sheet while that was read. Of rows that look the same, as many are left out as there are
        tasks."""
        index = index_of(rows)
        read_at = min((row.read_at for row in map(row_data_of, rows) if row.read_at), default=math.inf)
        taken = tasks_of_rows(index, list(unsettled(self._entries(), kind, read_at)), self._index.find)
        for one in taken:
            if self._index.find(one.task.task_id) is None:
                log.warning("[wfrecovery] %s", of_newer(one.task, one.row_number))
            elif one.changed:
                log.warning("[wfrecovery] %s", changed_row(one.task, one.row_number))
        self._stands_in.update({one.task.task_id: one.row_number for one in taken if not one.changed})
        numbers = {one.row_number for one in taken}
        left = [row for row in rows if number_of(row) not in numbers]
        self._left[kind] = {number: identity for number, identity in index.rows.items() if number not in numbers}
        return left

    def of(self, row: RowData, kind: str) -> TaskRecord | None:
        """The task that is at work on this row for this workflow, or whose result still has to be pushed.

        That is the one whose number the row carries, else the one that was entered for its row number, also where a
        person has changed the row since; else one that another program has entered, whose row may have moved. Of one's
        own reading the row numbers are known. What was never sent for a row that was changed is not its task: it would
        be sent for another row's sake. Raises TaskError for a row that a newer wfrecovery is at work on.
        """
        number, index = row.row_number, index_of([row])
        identity, carried = index.rows[number], index.numbers[number]
        left = self._left.get(kind, {}).get(number) == identity
        moved = changed = None
        tasks = unsettled(self._entries(), kind)
        for entry in sorted(tasks, key=lambda entry: entry.task_id not in carried):
            where = places_of(entry, index, self._index.find)
            is_like = bool(may_be(entry, where.rows, index))
            here = self._stands_in.get(entry.task_id, entry.row_number) == number
            against = not left and bool(_against(entry, where, index))
            if not is_like and not against and (left or not (here and resembles(entry.identity, identity))):
                continue
            if self._index.find(entry.task_id) is None:
                raise TaskError(of_newer(entry, number))
            task = self._look(entry.task_id)
            if task is None or not keeps_row(task):
                continue
            if is_like and (here or entry.task_id in carried):
                return self._noted(task, number)
            if is_like and moved is None and task.batch != self._owners.me.boot and task.task_id not in self._stands_in:
                moved = task
            elif not is_like and changed is None and self._may_be_sent(task):
                changed = task
        if moved is None and changed is not None:
            log.warning("[wfrecovery] %s", changed_row(changed, number))
        found = moved or changed
        return None if found is None else self._noted(found, number)

    def _entries(self) -> list[TaskEntry]:
        """Every task; and what a newer wfrecovery has left unfinished, whose rows are not ours to render."""
        entries = self._index.entries()
        return self._here([*map(TaskEntry.of, self._newer(self._index.find)), *entries])

    def _noted(self, task: TaskRecord, number: int) -> TaskRecord:
        self._stands_in[task.task_id] = number
        return task

    def _may_be_sent(self, task: TaskRecord) -> bool:
        told = task.stage is not Stage.CREATED or task.sending is not None or task.comfyui_task_id is not None
        return told or self._owners.at_work(task) is not None


def _task_ids(row: RowData) -> list[str]:
    """The tasks whose numbers a row carries. A team's own reading has that column under its title."""
    shown = row.task_number or row.original_data.get(Columns.task_id)
    return [word for word in words_in(cell_text(shown)) if is_task_id(word)]


def _against(task: TaskEntry, where: Places, rows: RowIndex) -> list[int]:
    """The rows that carry its number, and say or show something else by now. A number that nobody saw in its own row
    proves nothing: it may be another table's."""
    if not is_numbered(task):
        return []
    mine = [number for number in where.rows if number in rows.rows_of_task(task.task_id)]
    return [*where.numbered, *(number for number in mine if pictures_differ(task.identity, rows.rows[number]))]
