"""What `main.py` makes of the files of a finished prompt: which are its results, which is delivered, and what it is
when there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..engines.history import ResultFile
from ..results.choice import Savers, chosen, nothing_saved
from ..results.contents import Contents
from ..results.embedded import embedded_tag
from ..results.find import find_results
from ..results.formats import kind_by_name
from ..results.reported import resolve
from ..results.whole import why_not_whole
from ..table.changes import failed, finished
from ..table.content import stamped
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, parse_time
from ..table.values import Result
from ..wording import Wording

Change = Callable[[TaskRecord], TaskRecord]

_NO_FILE: Final = Wording("finished, but it wrote no file", "已完成，但没有写出文件")


@dataclass(frozen=True)
class Fetched:
    """The files of a prompt as they lie in our folder, or would, each with its node, in the order of the nodes."""

    paths: tuple[tuple[Path, str | None], ...] = ()
    #: among them those that lie where ComfyUI wrote them, and where it may write others over them
    here: frozenset[Path] = frozenset()
    #: and those that cannot be had, with the reason
    lost: Mapping[Path, str] = field(default_factory=dict)
    #: how many more there are, of which nobody has the names
    unlisted: int = 0

    @property
    def all_lost(self) -> bool:
        """Whether there is none."""
        return len(self.lost) == len(self.paths)


def files_here(output_dir: Path, task: TaskRecord, file: ResultFile) -> list[Path]:
    """Where a file lies that ComfyUI wrote into our own output folder: whole, and with this prompt's id in it."""
    there = [output_dir / name for name in resolve(output_dir, [file]).files]
    tags = ((path, embedded_tag(path)) for path in there)
    return [
        path
        for path, tag in tags
        if tag is not None and tag.prompt_id == task.comfyui_task_id and why_not_whole(path) is None
    ]


def collected(db: DatabaseManager, task: TaskRecord, fetched: Fetched) -> Change:
    """The change that records the end of a prompt that ComfyUI calls a success. Reads the files."""
    names = {name: node for path, node in fetched.paths for name in db.relative_files([path])}
    lost = {name: why for path, why in fetched.lost.items() for name in db.relative_files([path])}
    if fetched.all_lost and task.comfyui_task_id is not None:  # the disk is asked
        since = parse_time(task.created_at)
        found = find_results(db.output_dir, {task.task_id: task.comfyui_task_id}, since).get(task.task_id)
        names, lost = (dict.fromkeys((file.path for file in found), None), {}) if found else (names, lost)
    if names:
        results = tuple(
            Result(name, kind_by_name(name), node=node) if name in lost else stamped(db.output_dir, name, node)
            for name, node in names.items()
        )
        keep = fetched.all_lost or bool(fetched.here)
        return _finishing(db, task, results, keep=keep, lost=lost, unlisted=fetched.unlisted)
    return lambda record: failed(record, _NO_FILE)


def adopted(db: DatabaseManager, task: TaskRecord, results: tuple[Result, ...]) -> Change:
    """The change for a prompt whose whole result was found after a crash."""
    finishing = _finishing(db, task, results, keep=True, lost={})
    return lambda record: dataclasses.replace(finishing(record), adopted=True)


def _finishing(
    db: DatabaseManager,
    task: TaskRecord,
    results: tuple[Result, ...],
    *,
    keep: bool,
    lost: Mapping[str, str],
    unlisted: int = 0,
) -> Change:
    """What is delivered is chosen among all that were named: where it is `lost`, no other one takes its place."""
    contents = Contents(db.table.files, db.output_dir)
    named = tuple(result if result.path in lost else contents.hashed(result) for result in results)
    read = tuple(result for result in named if result.path not in lost)
    savers = Savers.of_graph(db.table.graph(task.task_id))
    file = chosen(dataclasses.replace(task.with_outbox(file=None), results=named), db.output_dir, savers)
    if file is None and (nameless := savers.nameless(named)):
        nothing = nothing_saved(nameless)
        return lambda record: failed(record, nothing)
    why = lost.get(file.path) if file is not None else next(iter(lost.values()), None) if not read else None
    if why is not None:
        reason = Wording("finished, but ", "已完成，但") + why
        return lambda record: failed(record, reason)
    if file is not None and keep:
        contents.keep(task.task_id, file)

    def change(record: TaskRecord) -> TaskRecord:
        done = finished(record.with_outbox(file=None), read, unlisted)
        return done if file is None else done.with_outbox(file=file.path)

    return change
