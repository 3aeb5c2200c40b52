"""The results of tasks among the files of the output folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from ..table.files import FOLDER_NAME
from .embedded import embedded_tag
from .whole import known_whole

#: A file may carry an older date than its task when the clock was set back meanwhile.
_CLOCK_TOLERANCE: Final = 24 * 3600.0
#: What is still being written, by us or by others; something else may follow, as in `a.part.png`.
_UNFINISHED: Final = frozenset({".tmp", ".part"})


@dataclass(frozen=True)
class Found:
    """A result: its path relative to the output folder, which run of the prompt wrote it, and how large it is."""

    path: str
    run: int | None
    size: int


def find_results(
    output_dir: Path, prompts: Mapping[str, str], since: float, *, tolerance: float = _CLOCK_TOLERANCE
) -> dict[str, list[Found]]:
    """The files under `output_dir` that carry one of the wanted task ids and its prompt_id, and are known to be whole.

    `prompts` maps task_id to prompt_id, `since` is the time (seconds) when the oldest was entered; the disk's clock may
    be behind by `tolerance`. The files of each task that has any are in the order in which they were written.
    """
    found: dict[str, list[tuple[int, str, Found]]] = {}
    for path, status in recent_files(output_dir, since - tolerance) if prompts else ():
        tag = embedded_tag(path)
        if tag and prompts.get(tag.task_id) == tag.prompt_id and known_whole(path):
            name = path.relative_to(output_dir).as_posix()
            file = Found(name, tag.run, status.st_size)
            found.setdefault(tag.task_id, []).append((status.st_mtime_ns, name, file))
    return {task_id: [file for _, _, file in sorted(files)] for task_id, files in found.items()}


def recent_files(folder: Path, since: float) -> Iterator[tuple[Path, os.stat_result]]:
    """The files under `folder` that were changed after `since`, without the table's own and what is being written."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link in a circle
            folders.clear()
            continue
        seen.add(real)
        if Path(parent) == folder and FOLDER_NAME in folders:
            folders.remove(FOLDER_NAME)
        for name in names:
            if not _UNFINISHED.isdisjoint(suffix.lower() for suffix in PurePath(name).suffixes):
                continue
            path = Path(parent, name)
            try:
                status = path.stat()
            except OSError:
                continue  # removed meanwhile
            if stat.S_ISREG(status.st_mode) and status.st_mtime >= since and status.st_size:
                yield path, status
