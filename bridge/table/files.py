"""Where the files of the task table lie, and how a record and a graph are read and written.

    <output folder>/wfrecovery/
        active/<task_id>.json           what still needs rendering or pushing
        done/<yyyy-mm>/<task_id>.json   the rest, by the month in the id
        graphs/<task_id>.json           the prompt graph, written once, before the record that names it
        ids/<task_id>                   an id that somebody is about to use
        kept/<task_id>.download          a copy of the picture that waits to be pushed
        corrupt/<file>                  what could not be read, with <file>.reason.txt beside it
        owners/<boot>.…                 who is at work, see `owners.py`
        left1-<sheet>.json.z            what is on its way to the sheet, see `feishu/left_on_disk.py`
        table_id                        a random id of this folder
        table.lock                      locked for every change; publisher.lock while a flush runs

Readers take no lock: files are only ever replaced whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .disk import AtomicFiles, Disk, FileStamp, TooLargeError
from .limits import RECORD_BYTES, bounded
from .names import path_named
from .plain_json import from_plain, to_plain
from .record_json import parsed, record_from_json, record_to_json
from .records import SCHEMA, RecordError, TaskRecord, is_task_id

log = logging.getLogger("wfrecovery")

FOLDER_NAME: Final = "wfrecovery"
#: A folder of finished tasks; whatever else people put beside these is not ours.
_MONTH: Final = re.compile(r"\d{4,}-\d{2}")
#: How often a record is looked for that is in neither place: it would have to move under each look.
_LOOKS: Final = 8
#: What is locked, never replaced.
LOCKS: Final = ("table.lock", "publisher.lock")
#: ComfyUI's asset scanner passes it over.
KEPT_SUFFIX: Final = ".download"
#: A graph may hold pictures. ComfyUI takes 100 MB in one request, unless it is told otherwise.
_MOST_GRAPH_BYTES: Final = 512 * 1024 * 1024


class TableFiles:
    """The files under one output folder. Takes no lock: whoever changes something holds the table's.

    Whatever takes a task id raises UnknownTaskError for what is none.
    """

    def __init__(self, output_dir: Path, disk: Disk) -> None:
        self.folder = output_dir / FOLDER_NAME
        self.active, self.done = self.folder / "active", self.folder / "done"
        self.graphs, self.ids, self.corrupt = (self.folder / name for name in ("graphs", "ids", "corrupt"))
        self.kept = self.folder / "kept"
        self.disk, self.atomic = disk, AtomicFiles(disk, output_dir)
        #: what is wrong with files that are left where they are, each told once
        self.reported: set[str] = set()

    # ---------------------------------------------------------------- records

    def read(self, path: Path) -> TaskRecord:
        """The record in a file; raises RecordError, or OSError."""
        try:
            raw = self.disk.read(path, RECORD_BYTES)
        except TooLargeError as error:
            raise RecordError(str(error.strerror)) from error
        try:
            data = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"not valid JSON: {error}") from error
        return record_from_json(data, path.stem)

    def find(self, task_id: str) -> TaskRecord | None:
        """The record, wherever it lies; None when there is none. Raises RecordError when it cannot be read."""
        # `done` wins where both exist; and a record may move between two looks, there and back again.
        for path in (self.done_path(task_id), self.active_path(task_id)) * _LOOKS:
            with contextlib.suppress(FileNotFoundError):
                return self.read(path)
        return None

    def newer(self, known: Callable[[str], object]) -> list[TaskRecord]:
        """Of the unfinished records of which `known` tells nothing, those of a newer schema, as far as we know their
        words: to be looked at, never to be written. Raises OSError where the folder cannot be read."""
        found = []
        for task_id in self.ids_in(self.active):
            if known(task_id) is None:
                with contextlib.suppress(OSError, ValueError, RecursionError):  # damaged: others say so
                    data = json.loads(self.disk.read(self.active_path(task_id), RECORD_BYTES))
                    schema = data.get("schema") if isinstance(data, dict) else None
                    found += [parsed(data)] if type(schema) is int and schema > SCHEMA else []
        return found

    def write(self, record: TaskRecord) -> None:
        """Write a record; what is settled goes to `done/`, in one rename."""
        path = self.active_path(record.task_id)
        self.atomic.write(path, encode(record_to_json(bounded(record)), indent=1))
        if record.settled:
            self.atomic.move(path, self.done_path(record.task_id))
            self.disk.unlink(self.kept_path(record.task_id))

    def kept_path(self, task_id: str) -> Path:
        """Where a copy of its picture lies."""
        return path_named(self.kept, task_id, KEPT_SUFFIX)

    def active_path(self, task_id: str) -> Path:
        """Where its record lies while something is left to do."""
        return path_named(self.active, task_id, ".json")

    def done_path(self, task_id: str) -> Path:
        """Where its record lies afterwards."""
        name = path_named(self.done, task_id, ".json").name
        return self.done / month_of(task_id) / name

    def path_of(self, task_id: str) -> Path | None:
        """Where the record lies; it may move between two looks, there and back again."""
        paths = (self.active_path(task_id), self.done_path(task_id)) * _LOOKS
        return next((path for path in paths if self.disk.exists(path)), None)

    # ---------------------------------------------------------------- graphs

    def graph_path(self, task_id: str) -> Path:
        """Where its graph lies."""
        return path_named(self.graphs, task_id, ".json")

    def claim_path(self, task_id: str) -> Path:
        """The empty file that says that the id is taken, before there is a record."""
        return path_named(self.ids, task_id)

    def quarantine_path(self, task_id: str) -> Path:
        """Where its record lies first when it could not be read."""
        return path_named(self.corrupt, task_id, ".json")

    def read_graph(self, task_id: str) -> dict[str, Any] | None:
        """The graph file, or None when there is none or it cannot be read."""
        path = self.graph_path(task_id)
        try:
            data = json.loads(self.disk.read(path, _MOST_GRAPH_BYTES))
            if not isinstance(data, dict) or not isinstance(data.get("prompt"), dict):
                raise ValueError("it holds no prompt")
            return from_plain(data)
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError, RecursionError, OSError) as error:
            self.report(path, f"graph cannot be read: {error}")
            return None

    def write_graph(self, task_id: str, graph: Mapping[str, Any]) -> None:
        """Write it, in the place of one that is there. A graph that is nested without end is not kept, which is
        reported: its task cannot be rendered again."""
        path = self.graph_path(task_id)
        try:
            data = encode(to_plain({"schema": SCHEMA, **graph}))
        except (RecursionError, TypeError, ValueError) as error:
            self.report(path, f"the graph cannot be kept: {type(error).__name__}")
            return
        self.atomic.make_folder(self.graphs)
        self.atomic.write(path, data)

    # ---------------------------------------------------------------- listing

    def ids_in(self, folder: Path) -> list[str]:
        """The tasks that have a file in `folder`. Raises OSError, also where that is a file: who found nothing there
        would render everything again."""
        found = self.disk.names(folder, must_be_folder=True)
        names = (name.removesuffix(".json") for name in found if name.endswith(".json"))
        return [name for name in names if is_task_id(name)]

    def months(self) -> list[str]:
        """The months that have finished tasks."""
        return [name for name in self.disk.names(self.done, must_be_folder=True) if _MONTH.fullmatch(name)]

    def stamps_in(self, place: Path) -> dict[str, FileStamp]:
        """The records that lie in `place`, by task id."""
        files = self.disk.stamps(place).items()
        records = ((name.removesuffix(".json"), stamp) for name, stamp in files if name.endswith(".json"))
        return {task_id: stamp for task_id, stamp in records if is_task_id(task_id)}

    def report(self, path: Path, what: str) -> None:
        """Say once what is wrong with a file that is left where it is."""
        line = f"{path.relative_to(self.folder)}: {what}"
        if line not in self.reported:
            self.reported.add(line)
            log.error("[wfrecovery] %s", line)


def month_of(task_id: str) -> str:
    """`2026-11` of `img_20261123_001`."""
    day = task_id.split("_")[1]
    return f"{day[:4]}-{day[4:6]}"


def encode(data: Any, indent: int | None = None) -> bytes:
    """JSON as the table's files hold it."""
    # A lone surrogate (a broken file name on Linux) must not make a task unrecordable.
    return json.dumps(data, ensure_ascii=False, indent=indent, allow_nan=False).encode("utf-8", "backslashreplace")
