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
        """Note it, if it is another one than before. Raises OSError and TaskError."""
        if self.read().get(document) != sheet:
            with self._table.locked():
                self._table.files.atomic.write(
                    self._table.folder / _NAME, encode({**self.read(), document: sheet}, indent=1)
                )

    def elsewhere(self, tasks: Iterable[TaskEntry], document: str | None) -> set[str]:
        """Of some tasks the ids of those whose row surely stands in another sheet than that of `document`."""
        known = self.read()
        here = known.get(document or "")
        return {task.task_id for task in tasks if here is not None and known.get(task.document or "", here) != here}
