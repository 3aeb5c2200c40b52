"""What the open pages are told without asking, through ComfyUI's own websocket.

    wfrecovery.status     the status, when it has changed; at most twice a second
    wfrecovery.task       {"tasks": [record …]}, changed by anybody: ComfyUI, main.py, the command line
    wfrecovery.progress   {"task_id", "value", "max", "node"}; at most four times a second

Whoever reports a change or a node's progress only leaves a note; reading and sending happen elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ...bridge.apart import apart
from ...bridge.in_time import within
from ...bridge.table.index import TaskEntry
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.record_json import record_to_json
from ...bridge.table.records import TaskError, TaskRecord

log = logging.getLogger("wfrecovery")

#: Seconds between two messages of one kind.
STATUS_PAUSE: Final = 0.5
PROGRESS_PAUSE: Final = 0.25
#: Seconds after which changes by other programs are looked for.
WATCH_SECONDS: Final = 2.0
#: Nobody looks: so often is noted how things stand, so that the next page is told what changed while it opened.
IDLE_SECONDS: Final = 10.0
#: Records in one message; the others follow in the next.
MAX_RECORDS: Final = 100

Send = Callable[[str, Any], None]


class Events:
    """Tells the pages what changed. `connected` says whether any is open, `send` reaches all of them."""

    def __init__(
        self,
        db: DatabaseManager,
        *,
        status: Callable[[], dict[str, Any]],
        connected: Callable[[], bool],
        send: Send,
    ) -> None:
        self._db, self._status, self._connected, self._send = db, status, connected, send
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake, self._ticked = asyncio.Event(), asyncio.Event()
        self._mutex = threading.Lock()
        self._changed: set[str] = set()
        self._progress: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, TaskEntry] | None = None
        self._last_status: dict[str, Any] | None = None

    def start(self) -> None:
        """Begin, on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._tell_changes()), asyncio.create_task(self._tell_progress())]

    # ------------------------------------------------------------------ notes, from any thread

    def changed(self, record: TaskRecord | None = None) -> None:
        """A record was written, or the status has changed without one."""
        if record is not None:
            with self._mutex:
                self._changed.add(record.task_id)
        self._set(self._wake)

    def progressed(self, task_id: str, value: float, maximum: float, node: str) -> None:
        """The node that runs has come so far."""
        with self._mutex:
            self._progress[task_id] = {"task_id": task_id, "value": value, "max": maximum, "node": node}
        self._set(self._ticked)

    def _set(self, event: asyncio.Event) -> None:
        if self._loop is not None and not event.is_set():
            self._loop.call_soon_threadsafe(event.set)

    # ------------------------------------------------------------------ on the event loop

    async def _tell_progress(self) -> None:
        while True:
            await self._ticked.wait()
            self._ticked.clear()
            with self._mutex:
                progress, self._progress = self._progress, {}
            if self._connected():
                for message in progress.values():
                    self._send("wfrecovery.progress", message)
            await asyncio.sleep(PROGRESS_PAUSE)

    async def _tell_changes(self) -> None:
        looked = 0.0
        while True:
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):  # look whether others have changed something
                await within(WATCH_SECONDS, self._wake.wait())
            self._wake.clear()
            try:
                if self._connected():
                    await self._tell()
                elif time.monotonic() - looked > IDLE_SECONDS:
                    looked = time.monotonic()
                    await apart(self._note_all)
            except Exception:
                log.exception("[wfrecovery] the page could not be told what changed")
            await asyncio.sleep(STATUS_PAUSE)

    async def _tell(self) -> None:
        records, status = await apart(self._news)
        if records:
            self._send("wfrecovery.task", {"tasks": records})
        if status != self._last_status:
            self._last_status = status
            self._send("wfrecovery.status", status)

    def _note_all(self) -> None:
        """As if everything had been told: who opens the page next asks for it."""
        self._seen = {entry.task_id: entry for entry in self._db.index.entries()}
        self._last_status = None
        with self._mutex:
            self._changed.clear()

    def _news(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The records that have changed, and the status; of a table that cannot be read only that."""
        try:
            now = {entry.task_id: entry for entry in self._db.index.entries()}
        except OSError:
            return [], self._status()
        before = now if self._seen is None else self._seen
        others = {task_id for task_id, entry in now.items() if before.get(task_id) is not entry}
        self._seen = now
        with self._mutex:
            waiting = sorted(self._changed | others, reverse=True)
            chosen = waiting[:MAX_RECORDS]
            self._changed = set(waiting[MAX_RECORDS:])
        if len(waiting) > MAX_RECORDS:
            self._set(self._wake)
        return [record for task_id in chosen if (record := self._record(task_id)) is not None], self._status()

    def _record(self, task_id: str) -> dict[str, Any] | None:
        try:
            record = self._db.table.look(task_id)
        except (TaskError, OSError):
            return None
        return None if record is None else record_to_json(record)
