"""The task table: one lock, atomic writes, and the changes of state that many programs make at once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from filelock import Timeout

from .disk import TEMP_SUFFIX, Disk, DurabilityUnknownError, FileStamp
from .files import TableFiles, month_of
from .ids import TaskIds
from .lives import is_token, path_of
from .locks import NoLocksError, Threads, held, process_lock, renewed_in_child
from .mending import Mending
from .names import UnknownTaskError
from .records import (
    NewerSchemaError,
    RecordError,
    RevisionConflictError,
    Stage,
    TaskError,
    TaskRecord,
    id_sort_key,
    is_task_id,
    now_text,
    parse_time,
)
from .story import with_story

#: Older versions, mixed over two environments that share a table, let two holders in at once; with 3.29.5 a child that
#: a dead owner had forked keeps its lock (both measured).
OLDEST_FILELOCK: Final = (3, 32, 7)
#: filelock's default of 50 ms *is* the latency of two writers: p99 of 52 to 104 ms, against 3 to 6 ms with this.
LOCK_POLL_SECONDS: Final = 0.002

_REFUSED: Final = "wfrecovery_refused"

Change = Callable[[TaskRecord], TaskRecord]


class TableBusyError(TaskError, TimeoutError):
    """Another process holds the table's lock for too long."""


class OldFileLockError(TaskError, ImportError):
    """The installed filelock does not exclude other versions."""


def check_filelock(installed: str | None = None) -> None:
    """Refuse a filelock that is too old; raises OldFileLockError that says what to install."""
    text = installed or version("filelock")
    numbers = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    if numbers < OLDEST_FILELOCK:
        wanted = ".".join(map(str, OLDEST_FILELOCK))
        raise OldFileLockError(
            f"filelock {text} is too old: together with another version it lets two processes write at once. "
            f"Run: python -m pip install 'filelock>={wanted}' (with the Python that runs this program)"
        )


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    """Errors of the disk that refuses a change are marked: `may_come_in_later` knows them from all else."""
    try:
        yield
    except OSError as error:
        setattr(error, _REFUSED, True)
        raise


def no_waiting_mends(error: OSError) -> bool:
    """Whether a change that raised this will not be made later either: it is made already, or the disk has no locks."""
    return isinstance(error, NoLocksError | DurabilityUnknownError)


def may_come_in_later(error: OSError) -> bool:
    """Whether a change was not made because the table could not be written: its lock was held, or the disk refused."""
    refused = isinstance(error, TableBusyError) or getattr(error, _REFUSED, False) is True
    return refused and not no_waiting_mends(error)


class WorkflowDatabase:
    """The files of the task table under `output_dir`; safe to use from several threads and processes."""

    def __init__(self, output_dir: str | Path, *, disk: Disk | None = None, lock_timeout: float = 10.0) -> None:
        check_filelock()
        self.output_dir = Path(output_dir).absolute()
        #: where everything lies; to be changed under the table's lock alone
        self.files = TableFiles(self.output_dir, disk or Disk())
        self._disk = self.files.disk
        self._timeout, self._threads = lock_timeout, Threads()
        self.forked()
        renewed_in_child(self)
        self._known_id: str | None = None
        self._ids, self._mending = TaskIds(self.files), Mending(self.files, self.locked)

    @property
    def folder(self) -> Path:
        """`<output folder>/wfrecovery`."""
        return self.files.folder

    def forked(self) -> None:
        """In a forked child filelock refuses a lock that its parent has made."""
        path = self.folder / "table.lock"
        self._lock = process_lock(path, timeout=self._timeout, poll_interval=LOCK_POLL_SECONDS)

    # ---------------------------------------------------------------- writing

    @contextlib.contextmanager
    def locked(self, timeout: float | None = None) -> Iterator[None]:
        """Hold the table's lock; for a read-modify-write only, never across a network call or `await`.

        Raises TableBusyError after `timeout` seconds, or as many as the table was made with; and in the end
        DurabilityUnknownError, when all is written.
        """
        with self.files.atomic.in_one():
            self.files.atomic.make_folder(self.files.active)
            with self._exclusively(self._timeout if timeout is None else timeout):
                yield

    @contextlib.contextmanager
    def _exclusively(self, timeout: float) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                left = stack.enter_context(self._threads.in_turn(timeout))
                stack.enter_context(held(self._lock, self._disk, left))
            except (Timeout, TimeoutError) as error:
                raise TableBusyError(f"{self._lock.lock_file} has been held for {timeout:g} s") from error
            yield

    def try_lock(self) -> None:
        """Take the lock and give it back, where its file is there: changes nothing. Raises as `locked` does."""
        if self._disk.exists(Path(self._lock.lock_file)):
            with self._exclusively(self._timeout):
                pass

    def claim_id(self, workflow_type: str | None, now: datetime | None = None, *, wanted: str | None = None) -> str:
        """A task id that nobody else has or gets: `wanted` where that is free, else the next one.

        `create` uses it up, `release_id` gives it back.
        """
        with _told_apart():
            return self._ids.claim(workflow_type, now, wanted=wanted)

    def release_id(self, task_id: str) -> None:
        """Give an unused id back."""
        self._ids.release(task_id)

    def create(self, record: TaskRecord, graph: Mapping[str, Any] | None = None) -> TaskRecord:
        """Write a new task, its graph first; raises RecordError when the id is taken."""
        now = now_text()
        record = with_story(None, record, now)
        record = dataclasses.replace(record, revision=1, created_at=record.created_at or now, updated_at=now)
        with _told_apart(), self.locked():
            if self.files.path_of(record.task_id) is not None:
                raise RecordError(f"{record.task_id} is there already")
            if graph is not None:
                self.files.write_graph(record.task_id, graph)
            self.files.write(record)
            self._ids.used(record.task_id)
        return record

    def update(self, task_id: str, change: Change) -> TaskRecord:
        """Read, change and write one record under the lock; what is settled moves to `done/`.

        `change` gets the record as it is now and returns the new one; returning it unchanged writes nothing.
        """
        with _told_apart(), self.locked():
            record = self.get(task_id)
            changed = change(record)
            if changed == record:
                return record
            done, active = self.files.done_path(task_id), self.files.active_path(task_id)
            if self._disk.exists(done):  # a retry: back first, so that it is never in neither
                self.files.atomic.move(done, active)
            found = self.files.read(active).revision
            if found != record.revision:
                raise RevisionConflictError(task_id, record.revision, found)
            now = now_text()
            changed = with_story(record, changed, now)
            changed = dataclasses.replace(changed, revision=record.revision + 1, updated_at=now)
            if changed.stage is Stage.FINISHED and changed.outbox.order == 0:
                changed = changed.with_outbox(order=self._next_order())
            self.files.write(changed)
            return changed

    def _next_order(self) -> int:
        """The number of a result: higher than all before it, also where the clock was set back since. Under the lock.

        It is the time in ms, so that results without a number, of an older program, have their place between them.
        """
        path = self.folder / "order"
        try:
            last = int(self._disk.read(path))
        except (FileNotFoundError, ValueError):  # deleted, or damaged: the clock alone decides
            last = 0
        number = max(last + 1, int(time.time() * 1000))
        self.files.atomic.write(path, str(number).encode())
        return number

    def write_graph(self, task_id: str, graph: Mapping[str, Any], *, replace: bool = False) -> None:
        """Add the graph of a task that was entered without one; an existing graph is left unless `replace`."""
        with _told_apart(), self.locked():
            if replace or not self._disk.exists(self.files.graph_path(task_id)):
                self.files.write_graph(task_id, graph)

    def forget(self, task_id: str, before: float) -> bool:
        """Remove the record and graph of a settled task that was not written to since `before` (seconds, epoch).

        Results stay. False when it is not settled, newer, or gone; raises RecordError when it cannot be read.
        """
        with self.locked():
            try:
                record = self.get(task_id)
            except UnknownTaskError:
                return False
            if not record.settled or not 0 < parse_time(record.updated_at) < before:
                return False
            # The graph last: without its record it is swept at the next start.
            self._disk.unlink(self.files.active_path(task_id))
            self._disk.unlink(self.files.done_path(task_id))
            self._disk.unlink(self.files.graph_path(task_id))
            self._disk.unlink(self.files.kept_path(task_id))
            return True

    # ---------------------------------------------------------------- reading

    def get(self, task_id: str) -> TaskRecord:
        """The record of `task_id`; raises UnknownTaskError, or RecordError when it cannot be read."""
        record = self.files.find(task_id) if is_task_id(task_id) else None
        if record is None:
            raise UnknownTaskError(str(task_id))
        return record

    def graph(self, task_id: str) -> dict[str, Any] | None:
        """The graph file of `task_id`, or None when there is none or it cannot be read."""
        return self.files.read_graph(task_id)

    def active(self) -> Iterator[TaskRecord]:
        """All tasks that still need something, oldest first. A file that cannot be read stops nobody."""
        for task_id in sorted(self.files.ids_in(self.files.active), key=id_sort_key):
            record = self._get_or_quarantine(task_id)
            if record is not None:
                yield record

    def ids(self) -> Iterator[str]:
        """Every task id, newest first, without reading a record."""
        by_month: dict[str, list[str]] = {}
        for task_id in self.files.ids_in(self.files.active):
            by_month.setdefault(month_of(task_id), []).append(task_id)
        for month in sorted({*by_month, *self.files.months()}, reverse=True):
            done = self.files.ids_in(self.files.done / month)
            # What has come back meanwhile was in neither when that was looked at.
            back = (task_id for task_id in self.files.ids_in(self.files.active) if month_of(task_id) == month)
            yield from sorted({*by_month.get(month, ()), *done, *back}, key=id_sort_key, reverse=True)

    # ---------------------------------------------------------------- what the index follows

    @property
    def active_folder(self) -> Path:
        """Where the tasks lie that still need something."""
        return self.files.active

    def places(self) -> list[Path]:
        """The folders that hold records: what is unfinished, then month by month."""
        return [self.files.active, *(self.files.done / month for month in self.files.months())]

    def changed_at(self, place: Path) -> int | None:
        """When a record last came into `place` or left it, in nanoseconds by the disk's clock."""
        return self._disk.changed_at(place)

    def files_in(self, place: Path) -> dict[str, FileStamp]:
        """The records that lie in `place`, by task id."""
        return self.files.stamps_in(place)

    def look(self, task_id: str) -> TaskRecord | None:
        """The record; None when it is gone or is no record of ours, which is then set aside and reported.

        Raises OSError when a finished record cannot be read now.
        """
        if self._disk.exists(self.files.active_path(task_id)):
            return self._get_or_quarantine(task_id)
        with contextlib.suppress(TaskError):
            return self.get(task_id)
        return None

    def newer(self, known: Callable[[str], object]) -> list[TaskRecord]:
        """See `TableFiles`."""
        return self.files.newer(known)

    def _get_or_quarantine(self, task_id: str) -> TaskRecord | None:
        path = self.files.active_path(task_id)
        try:
            return self.get(task_id)
        except NewerSchemaError as error:
            self.files.report(path, f"left alone: {error}")
        except RecordError:
            with contextlib.suppress(TaskError, OSError):
                return self._mending.quarantine(task_id)
        except UnknownTaskError:
            return None  # removed meanwhile
        except OSError as error:
            self.files.report(path, f"cannot be read: {error}")
        return None

    # ---------------------------------------------------------------- which table

    @property
    def table_id(self) -> str | None:
        """The random id of this state folder, by which two programs tell whether they share it; None before there is
        one."""
        try:
            return self._kept_id()
        except OSError:
            return None

    def _kept_id(self) -> str | None:
        """The same; raises OSError where there is one that cannot be read now: it stays this folder's."""
        try:
            return self._disk.read(self.folder / "table_id").decode("ascii").strip() or None
        except (FileNotFoundError, ValueError):
            return None

    def is_shared_with(self, status: Mapping[str, Any] | None) -> bool:
        """Whether the plugin that answers with this status works in this very table: it has the same id, and has left
        its beat here. A copy of an output folder has that id as well."""
        told = status or {}
        table_id, owner = told.get("table_id"), told.get("owner")
        if table_id is None or table_id != self.table_id:
            return False
        if not isinstance(owner, str):  # an older one
            return True
        return is_token(owner) and self._disk.exists(path_of(self.folder / "owners", owner, "json"))

    def keep_table_id(self) -> str:
        """The same; it is made where there is none, and made again where somebody has deleted it."""
        found = self.table_id
        if found is None:
            with _told_apart(), self.locked():
                found = self._kept_id() or self._known_id or uuid.uuid4().hex
                self.files.atomic.write(self.folder / "table_id", found.encode())
        self._known_id = found
        return found

    def takes_others(self) -> bool:
        """Whether the table takes a file at all: a change that it refuses all the same is refused for a file of its
        own."""
        path = self.files.active / f"others{TEMP_SUFFIX}"
        try:
            with self.locked():
                self.files.atomic.write(path, b"")
                self._disk.unlink(path)
        except (OSError, TaskError):
            return False
        return True

    # ---------------------------------------------------------------- mending

    def corrupt(self) -> list[str]:
        """What lies in quarantine, and active records of a newer schema: each with its reason."""
        return self._mending.in_quarantine() + sorted(self.files.reported)

    def unreadable(self) -> list[str]:
        """The records in `active` that cannot be read, each with its reason; nothing is set aside."""
        return self._mending.damaged()

    def own_folders(self) -> list[Path]:
        """The folder of the table, and those in it that are there and are written to."""
        months = self.files.months() if self.files.done.is_dir() else ()
        inner = (self.files.active, self.files.graphs, self.files.done, *(self.files.done / month for month in months))
        return [self.folder, *(path for path in inner if self._disk.exists(path))]

    def sweep(self) -> None:
        """Finish what a crash left half done: moves, temp files, stale claims, graphs without a record."""
        with self.locked():
            self._mending.remove_litter()
        for record in self.active():
            if record.settled:
                with self.locked():
                    self._mending.finish_move(record.task_id)
        self._ids.sweep()
        corrupt = (name.removesuffix(".json") for name in self._disk.names(self.files.corrupt))
        self._mending.sweep_graphs({*self.ids(), *corrupt})
