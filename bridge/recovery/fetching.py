"""Bringing the files of a finished prompt into our output folder, where they do not lie there already."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..engines.errors import FileUnavailableError, UnreachableError
from ..engines.history import ResultFile, Sighting
from ..engines.in_use import EngineInUse
from ..results.file_names import result_path
from ..results.whole import why_not_whole
from ..table.records import TaskRecord
from .collecting import Fetched, files_here


async def fetch_all(engine: EngineInUse, output_dir: Path, task: TaskRecord, seen: Sighting) -> Fetched:
    """Where each of the named files is: where ComfyUI wrote it, if that is our output folder, else a copy in the house
    style. One that cannot be had does not keep the others, nor does another one take its place.

    Raises EngineError, or OSError, where another try may bring one.
    """
    paths: list[tuple[Path, str | None]] = []
    here: set[Path] = set()
    lost: dict[Path, str] = {}
    for index, file in enumerate(seen.files):
        there = await asyncio.to_thread(files_here, output_dir, task, file)
        node = None if file.node is None else str(file.node)  # a client may name it by a number
        if there:
            paths += [(path, node) for path in there]
            here.update(there)
            continue
        if not file.sure:  # a text that looks like a file's name
            continue
        target = result_path(output_dir, task, file.filename, index)
        try:
            await engine.download(file, target)
        except FileUnavailableError as error:
            lost[target] = str(error)
        else:
            await asyncio.to_thread(_check_whole, file, target)
        paths.append((target, node))
    return Fetched(tuple(paths), frozenset(here), lost, seen.unlisted)


def _check_whole(file: ResultFile, target: Path) -> None:
    """A client's own way of fetching may return without it. Raises UnreachableError."""
    reason = why_not_whole(target)
    if reason:
        raise UnreachableError(f"{file.path} did not come whole: {reason}")
