"""Where a task's row may be in one reading of the sheet: what entering, skipping and finding rows all ask.

Rows are told apart by what they say (`compare`). Where a row was seen to carry its task's number in the column 任务号,
that decides, also of a row that was moved and renamed; what speaks against it then is a person's to look at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .index import TaskEntry
from .records import TaskRecord, WorkflowStatus
from .row_identity import RowIdentity, RowIndex, Verdict, compare, made_of_same, nearest, resembles
from .values import FeishuState

#: The task of this table that a number in the sheet means.
Known = Callable[[str], TaskEntry | None]


class RowOwner(Protocol):
    """Whatever was made for a row: a task's record, or its entry in the index."""

    @property
    def task_id(self) -> str: ...
    @property
    def workflow_type(self) -> str | None: ...
    @property
    def row_number(self) -> int | None: ...
    @property
    def identity(self) -> RowIdentity: ...


@dataclass(frozen=True, slots=True)
class Places:
    """The rows that a task may have, by number; none where nothing is like it."""

    #: nothing tells which of these
    rows: tuple[int, ...] = ()
    #: what carries the task's number and is another row by what it says: then `rows` is empty
    numbered: tuple[int, ...] = ()
    #: what says the same as its row, in that case
    elsewhere: tuple[int, ...] = ()


def places_of(task: RowOwner, rows: RowIndex, known: Known) -> Places:
    """The rows that it may be: of those that are not another one the nearest, of these the one with its number, else
    those with nobody's. Where its row was seen to carry its number, only that may be."""
    numbered, found = rows.rows_of_task(task.task_id), rows.may_be(task.identity)
    if numbered and is_numbered(task):
        found = [number for number in found if number in numbered]
    if not found:
        return _by_number(task, rows, known) if numbered and is_numbered(task) else Places()
    near = nearest(task.identity, {number: rows.rows[number] for number in found})
    mine = [number for number in near if number in numbered]
    held = {
        number for number in near if any(holds(one, rows.rows[number]) for one in _others(task, number, rows, known))
    }
    free = [number for number in near if number not in held]
    return Places(tuple(mine or free or near))


def made_of_its_row(task: RowOwner, rows: RowIndex) -> list[int]:
    """Where nothing is like its row, what a person may have made of that: rows with the same in all that went into the
    render, which were renamed; else a row that has most of it in common, and that no other row has; else the one of its
    number, if that may be it: in doubt nothing is paid for twice. A number that was seen in its row would still be
    there."""
    if is_numbered(task) and any(rows.numbers.values()):
        return []
    picture = task.identity.product_image
    like = sorted(rows.agreeing("product_image", picture)) if picture else []
    return [number for number in like if made_of_same(task.identity, rows.rows[number])] or _edited(task, rows)


def _edited(task: RowOwner, rows: RowIndex) -> list[int]:
    """The rows of which most is what its row said. Where rows have one model and one 提示词, each resembles each: what
    a row has in common with many tells nothing, and where its row was deleted the next one has its number."""
    common = rows.in_common(task.identity)
    like = [number for number, parts in common.items() if resembles(task.identity, rows.rows[number], parts)]
    patterns = Counter(common.values())
    alone = [n for n in like if sum(times for other, times in patterns.items() if common[n] <= other) == 1]
    most = max((len(common[number]) for number in alone), default=0)
    nearest_ones = [number for number in alone if len(common[number]) == most]
    return nearest_ones or [number for number in like if number == task.row_number]


def is_numbered(task: RowOwner) -> bool:
    """Whether its row was seen to carry its number."""
    return task.identity.task_id == task.task_id


def holds(other: TaskEntry | None, row: RowIdentity) -> bool:
    """Whether a row that carries a number is that task's, as far as can be told; None is one of another table. A
    settled task needs its row no more, and what is another row by its texts was not meant."""
    if other is None:
        return True
    return keeps_row(other) and compare(other.identity, row) is not Verdict.DIFFERENT


def keeps_row(task: TaskRecord | TaskEntry) -> bool:
    """Whether a row has this task: it is at work on it, or its result still has to be pushed."""
    open_entry = task.feishu_state in (FeishuState.PENDING, FeishuState.BLOCKED)
    return (
        task.row_number is not None
        and task.status is not WorkflowStatus.FAILED
        and (open_entry or not task.stage.final)
    )


def _by_number(task: RowOwner, rows: RowIndex, known: Known) -> Places:
    """Where what carries its number is another row by its texts. A name may have been corrected: where all that went
    into the render is known and the same, it is the task's. Else the row wants another result, or it is the numbers
    that were moved, as by a sort of some columns."""
    numbered = tuple(rows.rows_of_task(task.task_id))
    elsewhere = tuple(
        number
        for number in rows.may_be(task.identity)
        if not any(
            one is not None and is_numbered(one) and holds(one, rows.rows[number])
            for one in _others(task, number, rows, known)
        )
    )
    renamed = len(numbered) == 1 and not elsewhere and made_of_same(task.identity, rows.rows[numbered[0]])
    return Places(numbered) if renamed and is_numbered(task) else Places((), numbered, elsewhere)


def _others(task: RowOwner, number: int, rows: RowIndex, known: Known) -> list[TaskEntry | None]:
    """The tasks of the same workflow whose number a row carries; None for one that another table has."""
    ids = [other for other in rows.numbers.get(number, ()) if other[:3] == task.task_id[:3]]
    return [known(other) for other in ids if other != task.task_id]
