"""Which document and which sheet the results of a table are delivered to, by whatever address or title it was known
before.

A sheet keeps its own id when people rename it, and a title may be given to another sheet: last month's is put away
under another name, and a new one takes its place. So a result goes only into the sheet that it was entered for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.publishers import in_sheet, may_deliver, stands_in
from ..table.records import Stage, TaskError, TaskRecord
from ..table.values import FeishuState
from ..wording import Wording
from .client import FeishuClient
from .errors import FeishuError
from .finding import RowNotFoundError

log = logging.getLogger("wfrecovery")

_OPEN: Final = (FeishuState.PENDING, FeishuState.BLOCKED)
#: Seconds between two questions for the sheet's sake, where Feishu does not answer.
_PAUSE: Final = 30.0


class WhichDocument:
    """Keeps the records' documents and sheets in step with what Feishu says, for one publisher."""

    def __init__(self, db: DatabaseManager, feishu: FeishuClient, clock: Callable[[], float] = time.time) -> None:
        self._db, self._feishu, self._clock = db, feishu, clock
        #: the document by its spreadsheet, where records were brought up to that
        self._known_as: str | None = None
        self._asked = False
        #: Feishu did not tell which sheet it is, and is left alone until then
        self._ask_again = 0.0

    @property
    def sheet(self) -> str | None:
        """The sheet that has the title, by the newest answer to this process."""
        return self._feishu.settings.sheet

    def ask(self) -> None:
        """Have Feishu asked which sheet it is, once where nobody has. Raises nothing."""
        if self.sheet is None and not self._asked:
            self._asked = True
            try:
                self._feishu.find_sheet()
            except FeishuError as error:
                log.warning("[wfrecovery] it cannot be told which sheet the settings mean: %s", error)

    def find_document(self) -> None:
        """Ask Feishu which spreadsheet is meant, where that is not known; where it cannot be told, that is said. Raises
        OSError, TaskError."""
        try:
            self._feishu.find_document()
            self.learn()
        except FeishuError as error:
            log.warning("[wfrecovery] it cannot be told which spreadsheet the settings mean: %s", error)

    def learn(self) -> None:
        """What is behind a wiki's address, and that a sheet has another name by now, stands in the records as well.
        Raises OSError, TaskError."""
        given, now = self._feishu.settings.document_as_given, self._feishu.settings.document
        if now is None:
            return
        if now not in (given, self._known_as):
            self._db.name_document(given, now)
            self._known_as = now
        self._rename(now)

    def note(self) -> None:
        """Note which sheet has the title, as far as Feishu was asked: what was entered for a former one keeps that.
        Raises OSError and TaskError."""
        document, sheet = self._feishu.settings.document, self.sheet
        if document is not None and sheet is not None:
            self._db.note_sheet(document, sheet)

    def note_if_possible(self) -> None:
        """The same, raising nothing: the next reading notes it."""
        try:
            self.note()
        except (OSError, TaskError) as error:
            log.warning("[wfrecovery] which sheet results go to cannot be noted: %s", error)

    def name_sheet(self) -> None:
        """What does not say yet for which sheet it was entered, as a prompt of the page, is for the one that has the
        title now: asked while it is new. Raises OSError and TaskError."""
        tasks = list(self._nameless()) if self._clock() >= self._ask_again else []
        if not tasks:
            return
        try:
            self._feishu.find_sheet()
        except FeishuError as error:
            self._ask_again = self._clock() + max(_PAUSE, error.wait or 0.0)
            log.info("[wfrecovery] which sheet new rows stand in is not known yet: %s", error)
            return
        self.note()
        for task in tasks:
            self._db.table.update(task.task_id, partial(in_sheet, self.sheet))

    def sorted_out(
        self, tasks: Iterable[TaskRecord], sheet_id: str
    ) -> tuple[list[TaskRecord], list[tuple[TaskRecord, RowNotFoundError]]]:
        """The tasks whose row stands in the sheet of that id; and the others, with why they do not go there. What was
        noted of them meanwhile counts."""
        here, elsewhere = list[TaskRecord](), list[tuple[TaskRecord, RowNotFoundError]]()
        for task in tasks:
            now = task if task.sheet is not None else self._db.table.look(task.task_id)
            why = None if now is None else self.not_here(now, sheet_id)
            if now is not None and why is None:
                here.append(now)
            elif now is not None and why is not None:
                elsewhere.append((now, why))
        return here, elsewhere

    def not_here(self, task: TaskRecord, sheet_id: str) -> RowNotFoundError | None:
        """Why a result does not go into the sheet of that id, which was read: its row stands in another one."""
        if stands_in(task, self._feishu.settings.sheet_key(sheet_id)):
            return None
        name, theirs = self._feishu.settings.feishu_sheet_name, self._feishu.titles.get(task.sheet or "")
        push = Wording(
            f"to have it written into {name!r}: wfrecovery push {task.task_id} (or decide {task.task_id} leave)",
            f"要写入“{name}”：wfrecovery push {task.task_id}（或 decide {task.task_id} leave）",
        )
        if theirs is None:
            return RowNotFoundError(
                Wording(
                    f"its sheet was deleted, and {name!r} is another one → ",
                    f"它的工作表已被删除，“{name}”是另一个工作表 → ",
                )
                + push
            )
        return RowNotFoundError(
            Wording(
                f"its sheet is called {theirs!r} now, and {name!r} is another one → for a run or two set "
                f"FEISHU_SHEET_NAME to {theirs!r}; ",
                f"它的工作表现在叫“{theirs}”，“{name}”是另一个工作表"
                f" → 请暂时把 FEISHU_SHEET_NAME 设为“{theirs}”再运行；",
            )
            + push
        )

    def _nameless(self) -> Iterator[TaskRecord]:
        """Until it is submitted, a row stands in the document of who has entered it."""
        ours = self._db.table.table_id, self._feishu.settings.document
        for entry in self._db.index.entries():
            if entry.sheet is None and entry.row_number is not None and not entry.stage.final:
                task = self._db.table.look(entry.task_id)
                new = task is not None and task.sheet is None and not task.stage.final
                if task is not None and new and task.stage is not Stage.CREATED and may_deliver(task, *ours):
                    yield task

    def _rename(self, now: str) -> None:
        """What was entered for the sheet under another title is delivered by its title of now."""
        known = self._db.sheets.read()

        def sheet_of(entry: TaskEntry) -> str | None:
            return entry.sheet or known.get(entry.document or "")

        former = [
            entry
            for entry in self._db.index.entries()
            if entry.document not in (None, now) and sheet_of(entry) is not None
            if not entry.stage.final or entry.feishu_state in _OPEN
        ]
        if former:
            self.ask()
        found = [entry.task_id for entry in former if self.sheet is not None and sheet_of(entry) == self.sheet]
        if found:
            log.info("[wfrecovery] the sheet has another name by now: its results are delivered to that")
        for task_id in found:
            self._db.table.update(task_id, lambda task: replace(task, document=now))
