"""Which sheet each document is that results were delivered to: a sheet keeps its own id when people rename it, and one
task table may serve several."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Final

from .database import WorkflowDatabase
from .files import encode
from .index import TaskEntry

_NAME: Final = "sheets.json"


class KnownSheets:
    """What was noted, in a file beside the records. Documents are as in `Settings.document`, sheets by a digest."""

    def __init__(self, table: WorkflowDatabase) -> None:
        self._table = table

    def read(self) -> dict[str, str]:
        """Document → its sheet; empty where nothing was noted, or it cannot be read."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(self._table.files.disk.read(self._table.folder / _NAME))
            if isinstance(found, dict):
                return {name: sheet for name, sheet in found.items() if isinstance(sheet, str)}
        return {}

    def note(self, document: str, sheet: str) -> None:
        """Note it, if it is another one than before: see `DatabaseManager.note_sheet`. Raises OSError and TaskError."""
        if self.read().get(document) != sheet:
            with self._table.locked():
                self._table.files.atomic.write(
                    self._table.folder / _NAME, encode({**self.read(), document: sheet}, indent=1)
                )

    def elsewhere(self, tasks: Iterable[TaskEntry], document: str | None, sheet: str | None) -> set[str]:
        """Of some tasks the ids of those whose row stands in another sheet than `sheet`, which has the title of
        `document`. One of another document does, unless that is known to be the same sheet."""
        known = self.read()
        here = sheet or known.get(document or "")

        def differs(task: TaskEntry) -> bool:
            theirs = task.sheet or known.get(task.document or "")
            if theirs is not None and here is not None:
                return theirs != here
            return None not in (task.document, document) and task.document != document

        return {task.task_id for task in tasks if differs(task)}
