"""The sheet as one flush knows it: read once, and confirmed by the answer to each write.

Feishu knows no conditional write. But each change of a spreadsheet raises its revision by one, and each write's answer
carries the new one: as long as that is the revision of our reading plus one, nobody has changed the sheet meanwhile,
and the reading holds for the next row as well. Where it is not, the sheet is read again, and it is looked for where
the write went. That `revision` counts so is documented nowhere: where it does not, each picture costs a reading.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ..table.records import TaskRecord
from ..table.rows import cell_text
from .client import FeishuClient
from .sheet import RowNotFoundError, SheetTable

#: A reading that no answer has confirmed for so many seconds is looked at again before it is written by.
_TRUSTED_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Reading:
    """The sheet as it was read, with what was written since and confirmed."""

    sheet: SheetTable
    #: the spreadsheet's, where the answers tell
    revision: int | None
    #: row number → the task whose picture stands there now
    sent: Mapping[int, TaskRecord]


@dataclass(frozen=True)
class Place:
    """A row that no task of this flush is for, as it is found again when rows move."""

    key: tuple[str, ...]
    row: int


class SheetReader:
    """The newest reading, and whether it still holds."""

    def __init__(self, feishu: FeishuClient) -> None:
        """Reads the sheet; raises FeishuError and SheetLayoutError."""
        self._feishu = feishu
        self.read()

    @property
    def sheet(self) -> SheetTable:
        """The sheet by the newest reading."""
        return self.current.sheet

    def read(self) -> None:
        """Read it anew; raises FeishuError and SheetLayoutError."""
        started, self._confirmed_at = time.monotonic(), -math.inf  # without an answer nothing is written by the old one
        sheet = self._feishu.read_sheet()
        self.current, self._confirmed_at = Reading(sheet, sheet.revision, {}), started

    def confirm(self, revision: int | None) -> bool:
        """Whether a write's answer shows that nobody else changed the sheet since the reading."""
        if revision is None or self.current.revision is None or revision != self.current.revision + 1:
            return False
        self.current = replace(self.current, revision=revision)
        self._confirmed_at = time.monotonic()
        return True

    def look_again(self) -> None:
        """Make sure that the reading still holds: converting a picture or uploading a video takes its time."""
        if time.monotonic() - self._confirmed_at <= _TRUSTED_SECONDS:
            return
        revision = self._feishu.revision(f"{self.sheet.sheet_id}!A1:A1")
        if revision is not None and revision == self.current.revision:
            self._confirmed_at = time.monotonic()
        else:
            self.read()

    def note_picture(self, row: int, task: TaskRecord) -> None:
        """A task's picture stands in a row now, and the answer has confirmed it."""
        self.current = replace(self.current, sent={**self.current.sent, row: task})

    def note_values(self, written: Mapping[tuple[int, str], Any]) -> None:
        """Cells, (row number, field) → value, are written, and the answers have confirmed it."""
        self.current = replace(self.current, sheet=self.sheet.with_values(written))

    def place(self, row: int) -> Place:
        """A row, as it is found again when rows move."""
        return Place(self.sheet.key(row), row)

    def row_of(self, owner: TaskRecord | Place) -> int | None:
        """Its row by the newest reading; None where that cannot be told."""
        if isinstance(owner, Place):
            return self.sheet.row_with(owner.key, owner.row)
        with contextlib.suppress(RowNotFoundError):
            return self.sheet.row_of(owner)
        return None

    def stands(self, owner: TaskRecord | Place, field: str, value: Any) -> bool:
        """Whether a cell of its row shows this value."""
        row = self.row_of(owner)
        return row is not None and self.sheet.text(row, field) == cell_text(value)


def row_number_of(address: str) -> int:
    """The row of a cell's address, 0 where it names none."""
    digits = address.rpartition(":")[2].lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return int(digits) if digits.isdecimal() else 0
