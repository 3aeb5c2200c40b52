"""Before a result is written that another table had to deliver, or may have: whether its row shows it already.

Feishu knows no conditional write, and two programs that do not reach each other cannot agree. What can be seen is the
cell: if it shows another picture than the one from before the task, or its status says 已完成, it was delivered.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..table.cells import cell_text, pictures_in
from ..table.records import TaskRecord, WorkflowStatus, WorkflowType, parse_time
from .cell_pictures import LARGEST_PICTURE, picture_for_cell
from .client import FeishuClient
from .deliverables import Deliverables
from .reading import SheetReader
from .sheet import SheetTable
from .status_column import status_before, status_field

log = logging.getLogger("wfrecovery")

#: So long after it was finished nobody else can have delivered it: `main.py` waits for longer before it takes over.
FRESH_SECONDS: Final = 60.0
#: Of Feishu's pictures; a path or an address is none.
_TOKENS: Final = re.compile(r"[A-Za-z0-9_,-]+")


class LookBack:
    """Looks for the results of one flush. `began`: when this publisher did."""

    def __init__(
        self,
        feishu: FeishuClient,
        reader: SheetReader,
        deliverables: Deliverables,
        began: float,
        clock: Callable[[], float],
    ) -> None:
        self._feishu, self._reader, self._deliverables = feishu, reader, deliverables
        self._began, self._clock = began, clock

    def stands_there(self, task: TaskRecord) -> bool:
        """Whether somebody else has delivered it. Raises FeishuError, SheetLayoutError, RowNotFoundError,
        ResultGoneError."""
        if not self._may_stand_there(task):
            return False
        found = self._looked_for(task)
        if found:
            log.info("[wfrecovery] %s (row %s) stands in its row already", task.task_id, task.row_number)
        return found

    def _looked_for(self, task: TaskRecord) -> bool:
        self._reader.look_again()
        row = self._reader.row(task)
        first = task.outbox.pushed_at is None and task.earlier_runs == 0  # else what was there before is no proof
        done = WorkflowStatus.COMPLETED.value
        if first and self._reader.sheet.text(row, status_field(task.workflow_type)) == done != status_before(task):
            return True
        shown = self._reader.sheet.picture(row) if task.workflow_type == WorkflowType.IMAGE_COMPOSITION.value else None
        if shown is None:
            return False
        changed = picture_changed(task, self._reader.sheet, row)
        if first and changed is not None:
            return changed
        return hashlib.sha256(self._feishu.media(shown)).hexdigest() == self._digest(task)

    def _may_stand_there(self, task: TaskRecord) -> bool:
        """What has changed hands may. Not what no other table has a record of, what a person wants written, and what
        has just been finished here for the first time; what was sent from here is looked for where it is sent."""
        if task.twin is None or task.outbox.asked_at is not None or task.outbox.writing is not None:
            return False
        if task.outbox.by is not None:
            return True
        finished_at = parse_time(task.finished_at)
        first = task.runs <= 1 and not task.adopted and task.rebuilt_at is None
        return not (first and self._began <= finished_at and 0 <= self._clock() - finished_at < FRESH_SECONDS)

    def _digest(self, task: TaskRecord) -> str:
        """Of what would be sent."""
        _, content = picture_for_cell(*self._deliverables.picture(task), LARGEST_PICTURE)
        return hashlib.sha256(content).hexdigest()


def picture_changed(task: TaskRecord, sheet: SheetTable, row: int) -> bool | None:
    """Whether its row shows another picture than when it was entered; None where that one is not known: a team's own
    reading may leave that cell out, or tell of a picture but not which it is."""
    before = _picture_before(task.row_data, sheet.columns.composite_image)
    return None if before is None else (sheet.picture(row) or "") != before


def text_before(task: TaskRecord, title: str) -> str | None:
    """The text that the cell of its picture, whose column has that title, held when its row was entered; None where
    that is not known."""
    cells = task.row_data.get("original_data")
    if isinstance(cells, Mapping) and title in cells:
        return cell_text(cells[title]).strip()
    kept = task.row_data.get("composite_image")
    return "" if "composite_image" in task.row_data and not kept else None


def _picture_before(row_data: Mapping[str, Any], title: str) -> str | None:
    """The tokens of the pictures that its row showed then, empty where it showed none; None: that is not known. Its
    data hold the cell, or the tokens alone; and all cells by title, where the row was read whole."""
    read = row_data.get("original_data")
    cells = read if isinstance(read, Mapping) else None
    told = [data[name] for data, name in ((row_data, "composite_image"), (cells, title)) if data and name in data]
    kept = row_data.get("composite_image")
    for tokens in (kept if isinstance(kept, str) else "", *(",".join(pictures_in(cell)) for cell in told)):
        if _TOKENS.fullmatch(tokens):
            return tokens
    empty = bool(told) and not any(told) and (cells is None or title in cells)
    return "" if empty else None
