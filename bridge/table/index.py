"""A light entry for every task, in memory: what lists, counts and searches are answered from.

It follows the files, whoever writes them: unfinished records are looked at each time, finished ones only when the
folder of their month has changed, and a record is read only when its file is another one than before.
"""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

from .database import WorkflowDatabase
from .locks import renewed_in_child
from .records import Stage, TaskRecord, WorkflowStatus, id_sort_key, parse_time
from .row_identity import RowIdentity
from .values import FeishuState, Owner

#: A folder that changed so shortly before it was listed may change again within the same tick of the disk's clock
#: (2 s on FAT): its time is no proof yet that nothing happened since.
TICK_SECONDS: Final = 2.0
#: A longer text is cut.
MAX_ERROR: Final = 300


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """What is kept of a record in memory."""

    task_id: str
    stage: Stage
    feishu_state: FeishuState
    workflow_type: str | None
    #: in which its row stands
    document: str | None
    sheet: str | None
    row_number: int | None
    product_name: str
    model_name: str
    #: what tells the row apart
    identity: RowIdentity
    #: ComfyUI's prompt_id
    comfyui_task_id: str | None
    finished_at: str | None
    #: when its result was in the sheet, in seconds since the epoch; 0: it is not
    pushed_at: float
    #: of two results of one row the newer one has the higher number
    result_order: int
    #: the beginning of `error_message`
    error: str | None
    #: who is at work on it
    owner: Owner | None
    #: a person wants its end
    unwanted: bool
    #: the ComfyUIs that cannot run it
    refused_by: tuple[str, ...]
    #: the run that entered it
    batch: str | None
    #: what a search looks into, in lower case
    text: str
    #: sorts by the time of entry; ids alone do not, for each kind of task has numbers of its own
    order: tuple[float, tuple[str, int, str]]

    @property
    def status(self) -> WorkflowStatus:
        return self.stage.status

    @classmethod
    def of(cls, record: TaskRecord) -> TaskEntry:
        """The entry of a record; texts that many tasks have in common are kept once."""
        error = record.error_message[:MAX_ERROR] if record.error_message else None
        searched = (
            record.task_id,
            record.row_number,
            record.product_name,
            record.model_name,
            record.comfyui_task_id,
            record.title,
            error,
        )
        return cls(
            task_id=record.task_id,
            stage=record.stage,
            feishu_state=record.feishu_state,
            workflow_type=record.workflow_type and sys.intern(record.workflow_type),
            document=record.document and sys.intern(record.document),
            sheet=record.sheet and sys.intern(record.sheet),
            row_number=record.row_number,
            product_name=sys.intern(record.product_name),
            model_name=sys.intern(record.model_name),
            identity=record.identity,
            comfyui_task_id=record.comfyui_task_id,
            finished_at=record.finished_at,
            pushed_at=parse_time(record.outbox.pushed_at) if record.feishu_state is FeishuState.PUSHED else 0.0,
            result_order=record.result_order,
            error=error,
            owner=record.owner,
            unwanted=record.cancel_requested is not None,
            refused_by=record.refused_by,
            batch=record.batch and sys.intern(record.batch),
            text=" ".join(str(part) for part in searched if part is not None).lower(),
            order=(parse_time(record.created_at), id_sort_key(record.task_id)),
        )


class TaskIndex:
    """The entries of one table; for several threads at once. Each question first looks what has changed on disk.

    A finished record that somebody edits in place, without renaming it, is noticed when its month next changes.
    """

    def __init__(self, table: WorkflowDatabase, *, look: Callable[[str], TaskRecord | None] | None = None) -> None:
        """`look`: reads a record; default sets aside what is none of ours."""
        self._table, self._look = table, look or table.look
        self._mutex = threading.Lock()
        self._forget()
        renewed_in_child(self)

    def _forget(self) -> None:
        self._entries: dict[str, TaskEntry] = {}
        self._oldest_first: list[TaskEntry] = []
        self._newest_first: tuple[TaskEntry, ...] | None = ()
        #: what was counted last, and the counts
        self._counted: tuple[tuple[TaskEntry, ...], Counter[tuple[Stage, FeishuState]]] = (), Counter()
        #: by folder: when it was changed, where that can be relied on, and the fingerprints of the files in it
        self._changed_at: dict[Path, int] = {}
        self._prints: dict[Path, dict[str, int]] = {}

    def forked(self) -> None:
        if self._mutex.locked():  # who followed the files is not here, and has left off in the middle
            self._forget()
        self._mutex = threading.Lock()

    def entries(self) -> tuple[TaskEntry, ...]:
        """Every task, newest first. Raises OSError where the table's folders cannot be read."""
        with self._mutex:
            active, *months = dict.fromkeys((*self._table.places(), *self._prints))
            first_look = any(month not in self._prints for month in months)
            for place in (active, *months):  # what is finished meanwhile is found in its month
                self._follow(place)
            if first_look:  # what has left its month meanwhile was never seen there: it is in `active` again
                self._follow(active)
            if self._newest_first is None:
                self._newest_first = tuple(reversed(self._oldest_first))
            return self._newest_first

    def find(self, task_id: str) -> TaskEntry | None:
        """One task, as it was at the last look."""
        return self._entries.get(task_id)

    def counts(self) -> Counter[tuple[Stage, FeishuState]]:
        """How many tasks stand where."""
        entries = self.entries()
        counted_for, counted = self._counted
        if counted_for is not entries:  # counted anew only when something has changed
            counted = Counter(map(attrgetter("stage", "feishu_state"), entries))
            self._counted = entries, counted
        return counted.copy()

    def find_by_prompt(self, prompt_id: str) -> TaskEntry | None:
        """The newest task whose `comfyui_task_id` is `prompt_id`; unfinished tasks come first."""
        found = [entry for entry in self.entries() if entry.comfyui_task_id == prompt_id]
        return next((entry for entry in found if not entry.stage.final), found[0] if found else None)

    # ---------------------------------------------------------------- following the files

    def _follow(self, place: Path) -> None:
        """Read what has changed in a folder."""
        active = place == self._table.active_folder
        changed_at = self._table.changed_at(place)
        if not active and changed_at is not None and self._changed_at.get(place) == changed_at:
            return
        tick = time.time_ns() - int(TICK_SECONDS * 1e9)
        files = self._table.files_in(place)
        before, prints = self._prints.get(place, {}), {task_id: hash(file) for task_id, file in files.items()}
        other = {task_id for task_id, fingerprint in prints.items() if before.get(task_id) != fingerprint}
        # Two replacements within a tick can look like one: unfinished records are read again until it is over.
        fresh = {task_id for task_id, file in files.items() if active and file.changed_at >= tick}
        changed = sorted(other | fresh | (before.keys() - prints.keys()), key=id_sort_key)  # new ones then come last
        unread = {task_id for task_id in changed if not self._read(task_id)}
        # an unfinished record that gave no entry (damaged, of a newer wfrecovery) is looked at again as well
        kept = (prints.keys() - unread) & self._entries.keys() if active else prints.keys() - unread
        self._prints[place] = {task_id: prints[task_id] for task_id in kept}
        self._changed_at.pop(place, None)
        if changed_at is not None and changed_at < tick and not unread:
            self._changed_at[place] = changed_at

    def _place(self, before: TaskEntry | None, now: TaskEntry | None) -> None:
        """Put an entry where it belongs, in the place of the one before, or take that away."""
        entry = now or before
        if entry is None:
            return
        self._newest_first = None
        where = bisect_left(self._oldest_first, entry.order, key=attrgetter("order"))
        self._oldest_first[where : where + (before is not None)] = [now] if now is not None else []

    def _read(self, task_id: str) -> bool:
        """Bring one entry up to date; False when the record could not be read, which may be otherwise the next time."""
        try:
            record = self._look(task_id)
        except OSError:
            return False
        before, now = self._entries.get(task_id), TaskEntry.of(record) if record is not None else None
        if now == before:
            return True
        self._place(before, now)
        if now is None:
            del self._entries[task_id]
        else:
            self._entries[task_id] = now
        return True
