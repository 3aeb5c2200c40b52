"""The task table on disk: one JSON file per task, one lock, atomic writes, quarantine of what cannot be read.

    <output folder>/wfrecovery/
        active/<task_id>.json           what still needs rendering or pushing
        done/<yyyy-mm>/<task_id>.json   the rest, by the month in the id
        graphs/<task_id>.json           the prompt graph, written once, before the record that names it
        ids/<task_id>                   an id that somebody is about to use
        corrupt/<file>                  what could not be read, with <file>.reason.txt beside it
        host                            boot_id of the ComfyUI that records here
        table.lock                      locked for every change; publisher.lock while a flush runs

Readers take no lock: files are only ever replaced whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from ..wording import Wording
from .disk import TEMP_SUFFIX, AtomicFiles, Disk, FileStamp
from .records import (
    KINDS,
    SCHEMA,
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
    record_from_json,
)
from .story import with_story

log = logging.getLogger("wfrecovery")

FOLDER_NAME: Final = "wfrecovery"
#: Older versions, mixed over two environments that share a table, let two holders in at once (measured).
OLDEST_FILELOCK: Final = (3, 29, 5)
#: filelock's default of 50 ms *is* the latency of two writers: p99 of 52 to 104 ms, against 3 to 6 ms with this.
LOCK_POLL_SECONDS: Final = 0.002
#: A task record has about 2 KB. What is far larger was not written by us.
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024

Change = Callable[[TaskRecord], TaskRecord]


class UnknownTaskError(TaskError, KeyError):
    """There is no such task."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(Wording(f"there is no task {task_id}", f"没有任务 {task_id}"))

    def __str__(self) -> str:
        return str(self.args[0])


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


class WorkflowDatabase:
    """The files of the task table under `output_dir`; safe to use from several threads and processes."""

    def __init__(self, output_dir: str | Path, *, disk: Disk | None = None, lock_timeout: float = 10.0) -> None:
        check_filelock()
        self.output_dir = Path(output_dir).absolute()
        self.folder = self.output_dir / FOLDER_NAME
        self._active, self._done = self.folder / "active", self.folder / "done"
        self._graphs, self._ids, self._corrupt = (self.folder / name for name in ("graphs", "ids", "corrupt"))
        self._disk = disk or Disk()
        self._files = AtomicFiles(self._disk)
        self._lock = FileLock(self.folder / "table.lock", timeout=lock_timeout, poll_interval=LOCK_POLL_SECONDS)
        self._reported: set[str] = set()
        #: per prefix the last number claimed here, so that a claim needs no listing of the folders
        self._last_numbers: dict[str, int] = {}

    # ---------------------------------------------------------------- writing

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the table's lock; for a read-modify-write only, never across a network call or `await`."""
        self._files.make_folder(self._active)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise TableBusyError(f"{self._lock.lock_file} has been held for {self._lock.timeout:g} s") from error
        try:
            yield
        finally:
            self._lock.release()

    def claim_id(self, workflow_type: str | None, now: datetime | None = None, *, wanted: str | None = None) -> str:
        """A task id that nobody else has or gets: `wanted` where that is free, else the next one.

        `create` uses it up, `release_id` gives it back.
        """
        if wanted is not None and self._claimed(wanted):
            return wanted
        prefix = f"{KINDS[workflow_type]}_{(now or datetime.now().astimezone()):%Y%m%d}_"
        self._files.make_folder(self._ids)
        number = self._last_numbers.get(prefix) or self._highest_number(prefix)
        while True:
            number += 1
            task_id = f"{prefix}{number:03}"
            if self._claimed(task_id):
                self._last_numbers[prefix] = number
                return task_id

    def _claimed(self, task_id: str) -> bool:
        if not is_task_id(task_id):
            return False
        self._files.make_folder(self._ids)
        try:
            self._disk.create(self._ids / task_id)
        except FileExistsError:
            return False
        # Looked up after the claim: whoever had it before wrote the record before dropping the claim.
        # What lies in quarantine keeps its id: its graph and its result may still be there.
        if self._path_of(task_id) is None and not self._disk.exists(self._corrupt / f"{task_id}.json"):
            return True
        self._disk.unlink(self._ids / task_id)
        return False

    def release_id(self, task_id: str) -> None:
        """Give an unused id back; a number that was not used is the next one again."""
        self._disk.unlink(self._ids / task_id)
        prefix, number = task_id[:13], int(task_id[13:])
        if self._last_numbers.get(prefix) == number:
            self._last_numbers[prefix] = number - 1

    def create(self, record: TaskRecord, graph: Mapping[str, Any] | None = None) -> TaskRecord:
        """Write a new task, its graph first; raises RecordError when the id is taken."""
        now = now_text()
        record = with_story(None, record, now)
        record = dataclasses.replace(record, revision=1, created_at=record.created_at or now, updated_at=now)
        with self.locked():
            if self._path_of(record.task_id) is not None:
                raise RecordError(f"{record.task_id} is there already")
            if graph is not None:
                self._write_graph(record.task_id, graph)
            self._write(record)
        self._disk.unlink(self._ids / record.task_id)
        return record

    def update(self, task_id: str, change: Change) -> TaskRecord:
        """Read, change and write one record under the lock; what is settled moves to `done/`.

        `change` gets the record as it is now and returns the new one; returning it unchanged writes nothing.
        """
        with self.locked():
            record = self.get(task_id)
            changed = change(record)
            if changed == record:
                return record
            if self._disk.exists(self._done_path(task_id)):  # a retry: back first, so that it is never in neither
                self._files.move(self._done_path(task_id), self._active / f"{task_id}.json")
            self._check_revision(record)
            now = now_text()
            changed = with_story(record, changed, now)
            changed = dataclasses.replace(changed, revision=record.revision + 1, updated_at=now)
            self._write(changed)
            return changed

    def write_graph(self, task_id: str, graph: Mapping[str, Any], *, replace: bool = False) -> None:
        """Add the graph of a task that was entered without one; an existing graph is left unless `replace`."""
        with self.locked():
            if replace or not self._disk.exists(self._graphs / f"{task_id}.json"):
                self._write_graph(task_id, graph)

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
            self._disk.unlink(self._active / f"{task_id}.json")
            self._disk.unlink(self._done_path(task_id))
            self._disk.unlink(self._graphs / f"{task_id}.json")
            return True

    # ---------------------------------------------------------------- reading

    def get(self, task_id: str) -> TaskRecord:
        """The record of `task_id`; raises UnknownTaskError, or RecordError when it cannot be read."""
        if not is_task_id(task_id):
            raise UnknownTaskError(str(task_id))
        # `done` wins where both exist; and a record may move there between two looks.
        for path in (self._done_path(task_id), self._active / f"{task_id}.json", self._done_path(task_id)):
            with contextlib.suppress(FileNotFoundError):
                return self._read(path)
        raise UnknownTaskError(task_id)

    def graph(self, task_id: str) -> dict[str, Any] | None:
        """The graph file of `task_id`, or None when there is none or it cannot be read."""
        path = self._graphs / f"{task_id}.json"
        try:
            data = json.loads(self._disk.read(path))
            if not isinstance(data, dict) or not isinstance(data.get("prompt"), dict):
                raise ValueError("it holds no prompt")
            return data
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError, OSError) as error:
            self._report(path, f"graph cannot be read: {error}")
            return None

    def active(self) -> Iterator[TaskRecord]:
        """All tasks that still need something, oldest first. A file that cannot be read stops nobody."""
        for task_id in sorted(self._ids_in(self._active), key=id_sort_key):
            record = self._get_or_quarantine(task_id)
            if record is not None:
                yield record

    def ids(self) -> Iterator[str]:
        """Every task id, newest first, without reading a record."""
        by_month: dict[str, list[str]] = {}
        for task_id in self._ids_in(self._active):
            by_month.setdefault(_month(task_id), []).append(task_id)
        for month in sorted({*by_month, *self._disk.names(self._done)}, reverse=True):
            everything = {*by_month.get(month, ()), *self._ids_in(self._done / month)}
            yield from sorted(everything, key=id_sort_key, reverse=True)

    # ---------------------------------------------------------------- what the index follows

    @property
    def active_folder(self) -> Path:
        """Where the tasks lie that still need something."""
        return self._active

    def places(self) -> list[Path]:
        """The folders that hold records: what is unfinished, then month by month."""
        return [self._active, *(self._done / month for month in self._disk.names(self._done))]

    def changed_at(self, place: Path) -> int | None:
        """When a record last came into `place` or left it, in nanoseconds by the disk's clock."""
        return self._disk.changed_at(place)

    def files_in(self, place: Path) -> dict[str, FileStamp]:
        """The records that lie in `place`, by task id."""
        files = self._disk.stamps(place).items()
        records = ((name.removesuffix(".json"), stamp) for name, stamp in files if name.endswith(".json"))
        return {task_id: stamp for task_id, stamp in records if is_task_id(task_id)}

    def look(self, task_id: str) -> TaskRecord | None:
        """The record; None when it is gone or is no record of ours, which is then set aside and reported.

        Raises OSError when a finished record cannot be read now.
        """
        if self._disk.exists(self._active / f"{task_id}.json"):
            return self._get_or_quarantine(task_id)
        with contextlib.suppress(TaskError):
            return self.get(task_id)
        return None

    # ---------------------------------------------------------------- which ComfyUI

    def set_host(self, boot_id: str) -> None:
        """Note which run of ComfyUI records into this table, so that `main.py` can tell whether it shares it."""
        with self.locked():  # or a sweep takes the temp file for litter
            self._files.write(self.folder / "host", boot_id.encode())

    def host(self) -> str | None:
        """The `boot_id` of the ComfyUI that records into this table, or None when none does."""
        try:
            return self._disk.read(self.folder / "host").decode()
        except OSError:
            return None

    def corrupt(self) -> list[str]:
        """What lies in quarantine, and active records of a newer schema: each with its reason."""
        names = [name for name in self._disk.names(self._corrupt) if not name.endswith((".reason.txt", TEMP_SUFFIX))]
        return names + sorted(self._reported)

    # ---------------------------------------------------------------- mending

    def sweep(self) -> None:
        """Finish what a crash left half done: moves, temp files, stale claims, graphs without a record."""
        with self.locked():
            months = (self._done / name for name in self._disk.names(self._done))
            for folder in (self.folder, self._active, self._graphs, self._corrupt, *months):
                for name in self._disk.names(folder):
                    if name.endswith(TEMP_SUFFIX):
                        self._disk.unlink(folder / name)
            for task_id in self._ids_in(self._active):
                if self._disk.exists(self._done_path(task_id)):
                    self._disk.unlink(self._active / f"{task_id}.json")
        for record in self.active():
            if record.settled:
                with self.locked():
                    self._finish_move(record.task_id)
        self._sweep_claims()
        self._sweep_graphs()

    def _sweep_claims(self) -> None:
        today = f"{datetime.now().astimezone():%Y%m%d}"
        for name in self._disk.names(self._ids):
            if is_task_id(name) and (today not in name or self._path_of(name) is not None):
                self._disk.unlink(self._ids / name)

    def _sweep_graphs(self) -> None:
        known = {*self.ids(), *(name.removesuffix(".json") for name in self._disk.names(self._corrupt))}
        for task_id in set(self._ids_in(self._graphs)) - known:
            with self.locked():
                if self._path_of(task_id) is None:
                    self._disk.unlink(self._graphs / f"{task_id}.json")

    def _finish_move(self, task_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._read(self._active / f"{task_id}.json").settled:
                self._files.move(self._active / f"{task_id}.json", self._done_path(task_id))

    def _get_or_quarantine(self, task_id: str) -> TaskRecord | None:
        try:
            return self.get(task_id)
        except NewerSchemaError as error:
            self._report(self._active / f"{task_id}.json", f"left alone: {error}")
        except RecordError:
            with contextlib.suppress(TaskError, OSError):
                return self._quarantine(task_id)
        except UnknownTaskError:
            return None  # removed meanwhile
        except OSError as error:
            self._report(self._active / f"{task_id}.json", f"cannot be read: {error}")
        return None

    def _quarantine(self, task_id: str) -> TaskRecord | None:
        """Move a damaged record aside, and rebuild it from its graph file where that allows it."""
        path = self._active / f"{task_id}.json"
        with self.locked():
            try:
                return self._read(path)  # somebody else has mended it
            except NewerSchemaError:
                return None
            except RecordError as error:
                rebuilt = self._rebuilt(task_id)
                self._set_aside(path, str(error), keep=rebuilt is not None)
            if rebuilt is not None:
                self._write(rebuilt)
                log.warning("[wfrecovery] %s was rebuilt from its graph", task_id)
            return rebuilt

    def _set_aside(self, path: Path, reason: str, *, keep: bool) -> None:
        """Into quarantine; with `keep` a copy, so that a crash before the rebuilt record is written loses nothing."""
        self._files.make_folder(self._corrupt)
        aside = self._corrupt / path.name
        number = 2
        while self._disk.exists(aside):
            aside = self._corrupt / f"{path.stem}.{number}{path.suffix}"
            number += 1
        self._files.write(aside.with_name(aside.name + ".reason.txt"), f"{now_text()} {reason}\n".encode())
        if keep:
            self._files.write(aside, self._disk.read(path))
        else:
            self._files.move(path, aside)
        log.error("[wfrecovery] damaged record moved to %s: %s. All other tasks go on.", aside, reason)

    def _rebuilt(self, task_id: str) -> TaskRecord | None:
        graph = self.graph(task_id)
        task = graph.get("task") if graph else None
        if graph is None or not isinstance(task, dict):
            return None
        fresh = {
            **TaskRecord(task_id).to_json(),
            **task,
            "task_id": task_id,
            "revision": 1,
            "comfyui_task_id": graph.get("prompt_id"),
        }
        metadata = task.get("metadata")
        known = metadata if isinstance(metadata, dict) else {}
        now = now_text()
        story = [{"at": now, "what": "rebuilt"}]
        fresh["metadata"] = {**known, "stage": Stage.QUEUED.value, "rebuilt_at": now, "story": story}
        try:
            return record_from_json({**fresh, "schema": SCHEMA}, task_id)
        except RecordError as error:
            log.warning("[wfrecovery] %s cannot be rebuilt from its graph: %s", task_id, error)
            return None

    # ---------------------------------------------------------------- files

    def _write(self, record: TaskRecord) -> None:
        path = self._active / f"{record.task_id}.json"
        self._files.write(path, _encode(record.to_json(), indent=1))
        if record.settled:
            self._files.move(path, self._done_path(record.task_id))

    def _write_graph(self, task_id: str, graph: Mapping[str, Any]) -> None:
        self._files.make_folder(self._graphs)
        self._files.write(self._graphs / f"{task_id}.json", _encode({"schema": SCHEMA, **graph}))

    def _read(self, path: Path) -> TaskRecord:
        raw = self._disk.read(path)
        if len(raw) > MAX_RECORD_BYTES:
            raise RecordError(f"{len(raw)} bytes are no task record")
        try:
            data = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"not valid JSON: {error}") from error
        return record_from_json(data, path.stem)

    def _check_revision(self, record: TaskRecord) -> None:
        found = self._read(self._active / f"{record.task_id}.json").revision
        if found != record.revision:
            raise RevisionConflictError(record.task_id, record.revision, found)

    def _done_path(self, task_id: str) -> Path:
        return self._done / _month(task_id) / f"{task_id}.json"

    def _path_of(self, task_id: str) -> Path | None:
        """Where the record lies. Asked in this order because records move from `active` to `done`."""
        paths: Iterable[Path] = (self._active / f"{task_id}.json", self._done_path(task_id))
        return next((path for path in paths if self._disk.exists(path)), None)

    def _ids_in(self, folder: Path) -> list[str]:
        names = (name.removesuffix(".json") for name in self._disk.names(folder) if name.endswith(".json"))
        return [name for name in names if is_task_id(name)]

    def _highest_number(self, prefix: str) -> int:
        month = _month(f"{prefix}001")
        folders = (self._active, self._done / month, self._corrupt)
        there = (*(name for folder in folders for name in self._ids_in(folder)), *self._disk.names(self._ids))
        return max((int(name.removeprefix(prefix)) for name in there if name.startswith(prefix)), default=0)

    def _report(self, path: Path, what: str) -> None:
        line = f"{path.relative_to(self.folder)}: {what}"
        if line not in self._reported:
            self._reported.add(line)
            log.error("[wfrecovery] %s", line)


def _month(task_id: str) -> str:
    day = task_id.split("_")[1]
    return f"{day[:4]}-{day[4:6]}"


def _encode(data: Any, indent: int | None = None) -> bytes:
    # A lone surrogate (a broken file name on Linux) must not make a task unrecordable.
    return json.dumps(data, ensure_ascii=False, indent=indent).encode("utf-8", "backslashreplace")
