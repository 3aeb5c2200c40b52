"""What a crash left half done is finished; what cannot be read is set aside, and rebuilt where its graph allows it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from .disk import TEMP_SUFFIX, TooLargeError
from .files import KEPT_SUFFIX, LOCKS, TableFiles
from .record_json import record_from_json, record_to_json
from .records import SCHEMA, NewerSchemaError, RecordError, Stage, TaskRecord, is_task_id, now_text

log = logging.getLogger("wfrecovery")

Locked = Callable[[], AbstractContextManager[None]]


class Mending:
    """Puts the table's files right. `locked` holds the table's lock."""

    def __init__(self, files: TableFiles, locked: Locked) -> None:
        self._files, self._disk, self._locked = files, files.disk, locked

    # ---------------------------------------------------------------- what a crash left half done

    def remove_litter(self) -> None:
        """Temp files, and the old one of two copies of a record. Under the table's lock."""
        files = self._files
        months = (files.done / name for name in files.months())
        own = (files.folder, files.active, files.done, files.graphs, files.ids, files.kept, files.corrupt, *months)
        for path in (*own, *(files.folder / name for name in LOCKS)):  # as an older version may have made them
            self._disk.belongs(path)
        for folder in own:
            for name in self._disk.names(folder):
                if name.endswith(TEMP_SUFFIX):
                    files.atomic.discard(folder / name)
        for task_id in files.ids_in(files.active):
            if self._is_record(files.done_path(task_id)):
                files.atomic.discard(files.active_path(task_id))
        for name in self._disk.names(files.kept):
            task_id = name.removesuffix(KEPT_SUFFIX)
            if is_task_id(task_id) and not self._disk.exists(files.active_path(task_id)):
                files.atomic.discard(files.kept / name)

    def _is_record(self, path: Path) -> bool:
        """Whether a record lies there that can be read: what has its name alone is no reason to remove another."""
        try:
            self._files.read(path)
        except (OSError, RecordError):
            return False
        return True

    def finish_move(self, task_id: str) -> None:
        """Move a settled record to where it belongs, if that can be done: it is read in either place. Under the table's
        lock."""
        path = self._files.active_path(task_id)
        try:
            if self._files.read(path).settled:
                self._files.atomic.move(path, self._files.done_path(task_id))
        except (OSError, RecordError) as error:
            log.info("[wfrecovery] %s is left where it is: %s", path, error)

    def sweep_graphs(self, known: set[str]) -> None:
        """Remove graphs of tasks that are not `known` and have no record."""
        for task_id in set(self._files.ids_in(self._files.graphs)) - known:
            with self._locked():
                if self._files.path_of(task_id) is None:
                    self._files.atomic.discard(self._files.graph_path(task_id))

    # ---------------------------------------------------------------- what cannot be read

    def in_quarantine(self) -> list[str]:
        """The names of the files that were set aside."""
        names = self._disk.names(self._files.corrupt)
        return [name for name in names if not name.endswith((".reason.txt", TEMP_SUFFIX))]

    def damaged(self) -> list[str]:
        """The records in `active` that cannot be read, each with its reason. They stay where they are."""
        return [told for task_id in self._files.ids_in(self._files.active) if (told := self._damage(task_id))]

    def _damage(self, task_id: str) -> str | None:
        try:
            self._files.find(task_id)
        except (RecordError, OSError) as error:
            return f"active/{task_id}.json: {error}"
        return None

    def quarantine(self, task_id: str) -> TaskRecord | None:
        """Move a damaged record aside, and rebuild it from its graph file where that allows it."""
        path = self._files.active_path(task_id)
        with self._locked():
            try:
                return self._files.read(path)  # somebody else has mended it
            except NewerSchemaError:
                return None
            except RecordError as error:
                rebuilt = self._rebuilt(task_id)
                self._set_aside(path, str(error), keep=rebuilt is not None)
            if rebuilt is not None:
                self._files.write(rebuilt)
                log.warning("[wfrecovery] %s was rebuilt from its graph", task_id)
            return rebuilt

    def _set_aside(self, path: Path, reason: str, *, keep: bool) -> None:
        """Into quarantine; with `keep` a copy, so that a crash before the rebuilt record is written loses nothing. What
        is no file of ours by its size alone is not copied."""
        corrupt, atomic = self._files.corrupt, self._files.atomic
        atomic.make_folder(corrupt)
        aside = corrupt / path.name
        number = 2
        while self._disk.exists(aside):
            aside = corrupt / f"{path.stem}.{number}{path.suffix}"
            number += 1
        atomic.write(aside.with_name(aside.name + ".reason.txt"), f"{now_text()} {reason}\n".encode())
        try:
            copy = self._disk.read(path) if keep else None
        except TooLargeError:
            copy = None
        if copy is None:
            atomic.move(path, aside)
        else:
            atomic.write(aside, copy)
        log.error("[wfrecovery] damaged record moved to %s: %s. All other tasks go on.", aside, reason)

    def _rebuilt(self, task_id: str) -> TaskRecord | None:
        graph = self._files.read_graph(task_id)
        task = graph.get("task") if graph else None
        if graph is None or not isinstance(task, dict):
            return None
        fresh = {
            **record_to_json(TaskRecord(task_id)),
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
