"""The column 任务号: each row that was entered gets its task's number, those of a batch in one call.

A number in a wrong row would make a wrong row certain. So it counts only once it was seen in its own row: by an answer
that confirms the reading, or by one after the write; then the record says so (`RowIdentity.task_id`). What went into
another row because rows moved in that very moment is taken out again, as statuses are.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from ..chance import CHANCE
from ..table.manager import DatabaseManager
from ..table.publishers import may_deliver
from ..table.records import Stage, TaskRecord, is_task_id
from ..table.row_identity import short
from ..table.row_places import holds
from ..wording import Wording
from .cell_writing import CellWriting
from .client import RANGES_PER_WRITE, FeishuClient
from .errors import FeishuError
from .finding import RowNotFoundError
from .reading import SheetReader
from .sheet import SheetLayoutError
from .waiting import backoff

log = logging.getLogger("wfrecovery")

#: A number that was written so often and never showed is left out.
_MOST_WRITES: Final = 3
#: So many refused calls find two cells among a hundred; then it is left at that.
_MOST_REFUSALS: Final = 16
#: Where the whole is refused, both halves and all quarters, it is the column: it is protected, or full.
_REFUSED_AT_FIRST: Final = 7


class RowNumbers:
    """Writes the numbers of one table's tasks. Not for several threads."""

    def __init__(self, db: DatabaseManager, feishu: FeishuClient, clock: Callable[[], float]) -> None:
        self._db, self._feishu, self._clock = db, feishu, clock
        #: tasks that this process gives no number, and has said why
        self._left: set[str] = set()
        self._said: set[str] = set()
        self._writes: Counter[str] = Counter()
        self._failures, self._next_try = 0, 0.0
        #: whether some are to be tried again
        self.again = False

    @staticmethod
    def has_column(reader: SheetReader) -> bool:
        """Whether the sheet had the column when it was last read."""
        return "task_id" in reader.sheet.places

    def wanted(self, table_id: str | None, document: str | None) -> list[TaskRecord]:
        """The tasks whose row is not known to carry their number, of one call at most, oldest first: those that work
        on their row, and are this program's to deliver. Raises OSError."""
        self.again = False
        if self._clock() < self._next_try:
            self.again = True
            return []
        found = []
        for entry in reversed(self._db.index.entries()):
            numbered = entry.identity.task_id == entry.task_id
            if entry.stage.final or entry.row_number is None or numbered or entry.task_id in self._left:
                continue
            task = self._db.table.look(entry.task_id)
            if task is not None and self._is_ours(task) and may_deliver(task, table_id, document):
                found.append(task)
        self.again = len(found) > RANGES_PER_WRITE
        return found[:RANGES_PER_WRITE]

    def _is_ours(self, task: TaskRecord) -> bool:
        """Until it is submitted a task names no document: its row stands in that of who has entered it."""
        return not task.stage.final and (task.stage is not Stage.CREATED or self._db.owners.is_me(task.owner))

    def write(self, tasks: Sequence[TaskRecord], reader: SheetReader) -> None:
        """Write their numbers, in one call. Where a cell of them is refused, it is looked for by halves: the others get
        theirs. Raises FeishuError, SheetLayoutError, TaskError, OSError."""
        if not self.has_column(reader):
            return
        parts, alone = deque([tasks]), list[TaskRecord]()
        refusals: list[FeishuError] = []
        accepted = False
        while parts and len(refusals) < (_MOST_REFUSALS if accepted else _REFUSED_AT_FIRST):
            part = parts.popleft()
            try:
                accepted = self._write(part, reader) or accepted
            except FeishuError as error:
                if not error.needs_person or error.concerns_all:
                    raise
                refusals.append(error)
                middle = len(part) // 2
                if middle:
                    parts += part[:middle], part[middle:]
                else:
                    alone.append(part[0])
        for task in alone if accepted else ():
            self._leave(task, _refused(reader.row_of(task), refusals[-1]))
        rest = [task for part in parts for task in part] if accepted else tasks
        if refusals and rest:
            self.put_off(rest, refusals[-1])
        self._failures = 0

    def _write(self, tasks: Sequence[TaskRecord], reader: SheetReader) -> bool:
        """Whether something was written."""
        writing = CellWriting(self._feishu, reader)
        reader.look_again()
        writing.settle()
        cells, waiting = self._cells(tasks, reader)
        if cells:
            writing.write(cells)
            self._writes.update(task.task_id for task in waiting)
        for task in tasks:
            if task.task_id not in self._left:
                self._note(task, reader)
        return bool(cells)

    def put_off(self, tasks: Sequence[TaskRecord], error: FeishuError | SheetLayoutError) -> None:
        """They could not be written: later, or not at all where a person has to mend something first."""
        wording = (
            error.wording if isinstance(error, FeishuError | SheetLayoutError) else Wording(str(error), str(error))
        )
        self._say(Wording(f"task numbers are not written: {wording.en}", f"任务号没有写入：{wording.zh}"))
        if not isinstance(error, FeishuError) or error.needs_person:
            self._left.update(task.task_id for task in tasks)
            return
        self._failures += 1
        self._next_try = self._clock() + backoff(self._failures, error.wait, CHANCE.random())
        self.again = True

    # ------------------------------------------------------------------ what goes where

    def _cells(
        self, tasks: Sequence[TaskRecord], reader: SheetReader
    ) -> tuple[dict[str, tuple[TaskRecord, str, str]], list[TaskRecord]]:
        """What is to be written, by address, and for which tasks. Several tasks may be at work on one row."""
        texts: dict[int, list[str]] = {}
        cells: dict[str, tuple[TaskRecord, str, str]] = {}
        waiting = []
        for task in tasks:
            try:
                row = reader.row(task)
                address = reader.sheet.address(row, "task_id")
            except RowNotFoundError as error:  # who delivers its result says so
                log.debug("[wfrecovery] %s gets no number: %s", task.task_id, error)
                self._left.add(task.task_id)
                continue
            except SheetLayoutError as error:
                self._leave(task, error.wording)
                continue
            words = texts.setdefault(row, list(reader.sheet.task_words(row)))
            why_not = self._why_not(task, row, words, reader)
            if why_not is not None:
                self._leave(task, why_not)
            elif task.task_id not in words:
                kept = [word for word in words if not self._is_over(word, task, row, reader)]
                texts[row] = [*kept, task.task_id]
                cells[address] = task, "task_id", " ".join(texts[row])
                waiting.append(task)
        return cells, waiting

    def _why_not(self, task: TaskRecord, row: int, words: Sequence[str], reader: SheetReader) -> Wording | None:
        """A person's words are not written over; and a number that stands in another row already says nothing: it was
        copied, or is another table's."""
        theirs = [word for word in words if not is_task_id(word)]
        title = reader.sheet.columns.task_id
        if theirs:
            return Wording(
                f"row {row} has {short(theirs)} in {title!r}, which is not written over",
                f"第 {row} 行的“{title}”里有 {short(theirs)}，不会覆盖",
            )
        elsewhere = [number for number in reader.sheet.index.rows_of_task(task.task_id) if number != row]
        if elsewhere:
            return Wording(
                f"its number stands in row {elsewhere[0]} already, and its row is {row} → clear that cell",
                f"它的任务号已写在第 {elsewhere[0]} 行，而它的行是第 {row} 行 → 请清空那个单元格",
            )
        return None

    def _is_over(self, word: str, task: TaskRecord, row: int, reader: SheetReader) -> bool:
        """Whether a number makes room: of a task of the same workflow that needs the row no more."""
        return word[:3] == task.task_id[:3] and not holds(self._db.index.find(word), reader.sheet.identity(row))

    def _note(self, task: TaskRecord, reader: SheetReader) -> None:
        """It counts from now on, if it stands in its own row and in no other."""
        row = reader.row_of(task)
        if row is not None and list(reader.sheet.index.rows_of_task(task.task_id)) == [row]:
            self._db.table.update(task.task_id, _numbered)
        elif self._writes[task.task_id] < _MOST_WRITES:
            self.again = True
        else:
            title = reader.sheet.columns.task_id
            self._leave(
                task, Wording(f"it was written and never showed in {title!r}", f"已写入“{title}”，但始终没有显示")
            )

    def _leave(self, task: TaskRecord, why: Wording) -> None:
        self._left.add(task.task_id)
        self._say(Wording(f"{task.task_id} gets no number: {why.en}", f"{task.task_id} 没有写入任务号：{why.zh}"))

    def _say(self, what: Wording) -> None:
        if what.en not in self._said:
            self._said.add(what.en)
            log.warning("[wfrecovery] %s", what)


def _refused(row: int | None, error: FeishuError) -> Wording:
    said = error.wording
    return Wording(f"the cell of row {row} takes none: {said.en}", f"第 {row} 行的单元格无法写入：{said.zh}")


def _numbered(task: TaskRecord) -> TaskRecord:
    return dataclasses.replace(task, row=dataclasses.replace(task.identity, task_id=task.task_id))
