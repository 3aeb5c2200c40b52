"""Whose is what a row shows: asked before anything is written over it, and before it passes for delivered.

That a cell shows something else than when its row was entered proves nothing: another table may have brought the
result, a person may have put something of their own there. The content tells. Where it does not, a person does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Set
from enum import Enum
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from ..redact import hidden_in_addresses
from ..table.cells import addresses_in, cell_text, one_named, pictures_in
from ..table.changes import leaving
from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from ..table.row_places import places_of
from .client import FeishuClient
from .deliverables import Deliverables
from .reading import SheetReader

#: Of Feishu's pictures; a path or an address is none.
_TOKENS: Final = re.compile(r"[A-Za-z0-9_,-]+")


class Whose(Enum):
    """Whose the content of a cell is."""

    #: to be written over: empty, as when its row was entered, a former result of its row, or what a person has decided
    FREE = "nobody's"
    ITS = "the task's own result"
    A_PERSONS = "a person's, for all that can be told"


class Shown:
    """Tells it for the tasks of one flush."""

    def __init__(
        self, feishu: FeishuClient, db: DatabaseManager, reader: SheetReader, deliverables: Deliverables
    ) -> None:
        self._feishu, self._db, self._reader, self._deliverables = feishu, db, reader, deliverables

    def picture(self, task: TaskRecord, row: int) -> Whose:
        """Of the cell of its picture. Raises FeishuError, ResultGoneError."""
        sheet = self._reader.sheet
        shown, title = sheet.picture(row), sheet.columns.composite_image
        if task.outbox.asked_at is not None:
            return Whose.FREE
        if shown is None:
            text = sheet.optional_text(row, "composite_image")
            before = _empty_before(task) if (kept := _text_before(task, title)) is None else kept
            is_new = before not in (None, text, hidden_in_addresses(text))
            return Whose.A_PERSONS if text and is_new else Whose.FREE
        before = _picture_before(task, title)
        if before == shown or (before is None and task.twin is None):
            return Whose.FREE
        if one_named(shown):
            if self._is_result(task, shown):
                return Whose.ITS
            if before is not None and self._is_of_row(task, row, self._reader.marks(shown)):
                return Whose.FREE
        return Whose.FREE if before is None else Whose.A_PERSONS

    def link(self, task: TaskRecord, row: int) -> Whose:
        """Of the cell of its video's link, unless that shows it already."""
        cell, title = self._reader.sheet.cell(row, "video_link"), self._reader.sheet.columns.video_link
        text = cell_text(cell).strip()
        if (
            not text
            or task.outbox.asked_at is not None
            or _text_before(task, title) in (text, hidden_in_addresses(text))
        ):
            return Whose.FREE
        return Whose.FREE if self._is_of_row(task, row, {text, *addresses_in(cell)}) else Whose.A_PERSONS

    def note_brought(self, task: TaskRecord, row: int) -> None:
        """Note that its result stands in its row, whoever has brought it there."""
        token = self._reader.sheet.picture(row)
        if token is not None and one_named(token):
            content = self._feishu.media(token)
            self._db.table.update(task.task_id, partial(leaving, hashlib.sha256(content).hexdigest()))

    def _is_result(self, task: TaskRecord, token: str) -> bool:
        """Whether a picture of the sheet is what the task is to show, as it was sent, or would be."""
        there, sent = self._reader.marks(token), task.outbox.writing
        known = {sent.sha256 if sent is not None else None, self._deliverables.digest(task)}
        return not known.isdisjoint(there) or not there.isdisjoint(self._deliverables.marks(task))

    def _is_of_row(self, task: TaskRecord, row: int, content: Set[str]) -> bool:
        """Whether something of this content is, or was, a result of a task whose row this is."""
        return any(not content.isdisjoint(_results_of(record)) for record in self._tasks_of(task, row))

    def _tasks_of(self, task: TaskRecord, row: int) -> Iterator[TaskRecord]:
        yield task
        for entry in self._db.index.entries():
            if entry.workflow_type == task.workflow_type and row in self._places(entry):
                record = self._db.table.look(entry.task_id)
                if record is not None:
                    yield record

    def _places(self, entry: TaskEntry) -> tuple[int, ...]:
        return places_of(entry, self._reader.sheet.index, self._db.index.find).rows


def _results_of(task: TaskRecord) -> set[str | None]:
    """By what results of a task are known in a cell: pictures by their content, links by address or by what they
    say."""
    link = (task.outbox.upload or {}).get("url")
    names = (PurePosixPath(path).name for path in task.output_files)
    return {*task.outbox.sent, *(result.sha256 for result in task.results), *names, link} - {None}


# ---------------------------------------------------------------------- what was there before


def _text_before(task: TaskRecord, title: str) -> str | None:
    """The text that the cell of that column held when its row was entered, without the secrets of addresses; None where
    that is not known."""
    cells = task.row_data.get("original_data")
    return cell_text(cells[title]).strip() if isinstance(cells, Mapping) and title in cells else None


def _empty_before(task: TaskRecord) -> str | None:
    """No text, where the cell of its picture is known to have been empty."""
    return "" if "composite_image" in task.row_data and not task.row_data["composite_image"] else None


def _picture_before(task: TaskRecord, title: str) -> str | None:
    """The tokens of the pictures that its row showed before anything of this result has left, empty where it showed
    none; None: that is not known. A team's own reading may leave that cell out, or tell of a picture but not which it
    is. The row's data hold the cell, or the tokens alone; and all cells by title, where the row was read whole."""
    if task.outbox.writing is not None:
        return task.outbox.writing.before or ""
    row_data = task.row_data
    read = row_data.get("original_data")
    cells = read if isinstance(read, Mapping) else None
    told = [data[name] for data, name in ((row_data, "composite_image"), (cells, title)) if data and name in data]
    kept = row_data.get("composite_image")
    for tokens in (kept if isinstance(kept, str) else "", *(",".join(pictures_in(cell)) for cell in told)):
        if _TOKENS.fullmatch(tokens):
            return tokens
    empty = bool(told) and not any(told) and (cells is None or title in cells)
    return "" if empty else None
