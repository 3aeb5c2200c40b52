"""One look at a task table: what is unfinished, what it waits for, and whether anything has moved since the last look.

Tasks with a row are the group's business; prompts without one are the page's, and count as movement alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..table.disk import FileStamp
from ..table.index import TaskEntry
from ..table.lives import Life
from ..table.manager import DatabaseManager
from ..table.records import Stage, TaskRecord
from ..table.values import FeishuState, Owner
from ..wording import Wording
from .note import Note

#: So many reasons are read; blocked results beyond them are counted.
MOST_READ: Final = 500
#: What Feishu says by a number, or says of the whole sheet, is one trouble for all results; else it is the row's own.
_FEISHU: Final = re.compile(r"Feishu says (\d+)")
_WHOLE_SHEET: Final = ("the sheet ", "the spreadsheet ", "none of the first ")
_UNSENT: Final = (FeishuState.PENDING, FeishuState.BLOCKED)
_UNKNOWN: Final = Wording("no reason was given", "没有给出原因")


@dataclass(frozen=True)
class Blocked:
    """A result that needs a person."""

    task_id: str
    reason: Wording

    @property
    def key(self) -> str:
        """Equal where one remedy helps."""
        said = _FEISHU.match(self.reason.en)
        if said:
            return f"feishu {said[1]}"
        return "sheet" if self.reason.en.startswith(_WHOLE_SHEET) else "row"


@dataclass(frozen=True)
class View:
    """What the table shows."""

    #: rows that are to be rendered
    open: tuple[TaskEntry, ...] = ()
    #: what runs, with or without a row
    running: tuple[TaskRecord, ...] = ()
    #: rendered, and to be pushed
    pending: tuple[TaskEntry, ...] = ()
    #: rendered, and for a person to push; newest first, as far as they were read
    blocked: tuple[Blocked, ...] = ()
    blocked_in_all: int = 0
    #: of the owners of `open` those that do not live any more
    dead: Mapping[str, Owner] = field(default_factory=dict)
    #: every task that is not settled
    unsettled: frozenset[str] = frozenset()
    #: equal for as long as nothing has moved
    digest: str = ""


class Viewer:
    """Looks at one table. For one thread at a time."""

    def __init__(self, db: DatabaseManager, note: Note) -> None:
        self._db, self._note = db, note
        self._entries: tuple[TaskEntry, ...] | None = None
        self._unsettled: list[TaskEntry] = []
        self._reasons: dict[str, tuple[FileStamp | None, Blocked]] = {}

    def look(self) -> View:
        """How things stand now. Raises OSError where the table cannot be read."""
        entries = self._db.index.entries()
        if entries is not self._entries:  # hundreds of thousands may be settled
            self._entries = entries
            self._unsettled = [entry for entry in entries if not entry.stage.final or entry.feishu_state in _UNSENT]
        rows = [entry for entry in self._unsettled if entry.row_number is not None]
        waiting = tuple(entry for entry in rows if not entry.stage.final and entry.stage is not Stage.ASKING)
        blocked = [entry for entry in rows if entry.stage.final and entry.feishu_state is FeishuState.BLOCKED]
        running = self._running()
        return View(
            open=waiting,
            running=running,
            pending=tuple(entry for entry in rows if entry.stage.final and entry.feishu_state is FeishuState.PENDING),
            blocked=tuple(self._blocked(blocked)),
            blocked_in_all=len(blocked),
            dead=self._dead(waiting),
            unsettled=frozenset(entry.task_id for entry in self._unsettled),
            digest=self._digest(running),
        )

    def _running(self) -> tuple[TaskRecord, ...]:
        running = (entry for entry in self._unsettled if entry.stage is Stage.RUNNING)
        records = (self._db.table.look(entry.task_id) for entry in running)
        return tuple(record for record in records if record is not None and record.stage is Stage.RUNNING)

    def _dead(self, waiting: Iterable[TaskEntry]) -> dict[str, Owner]:
        owners = {entry.owner.boot: entry.owner for entry in waiting if entry.owner is not None}
        return {boot: owner for boot, owner in owners.items() if self._db.owners.life(owner) is Life.DEAD}

    def _blocked(self, entries: list[TaskEntry]) -> list[Blocked]:
        """Each with its reason; a record is read again only when its file is another one."""
        before, self._reasons = self._reasons, {}
        files = self._db.table.files_in(self._db.table.active_folder) if entries else {}
        for task_id in (entry.task_id for entry in entries[:MOST_READ]):
            stamp, known = files.get(task_id), before.get(task_id)
            if known is None or known[0] != stamp:
                record = self._db.table.look(task_id)
                if record is None:
                    continue
                known = stamp, Blocked(task_id, record.outbox.reason or _UNKNOWN)
            self._reasons[task_id] = known
        return [blocked for _, blocked in self._reasons.values()]

    def _digest(self, running: Iterable[TaskRecord]) -> str:
        """That a result is blocked, or tried again, is no movement; that it is in the sheet is: it is settled then."""
        began = {record.task_id: record.started_at for record in running}
        lines = sorted(f"{entry.task_id} {entry.stage.value} {began.get(entry.task_id)}" for entry in self._unsettled)
        return hashlib.sha256("\n".join([*lines, str(self._note.moves())]).encode()).hexdigest()[:32]
