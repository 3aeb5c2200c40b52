"""A file that a person names as a task's result, where nothing else can tell that it is: looked at before it is taken,
and the files among which he may look for it."""

from __future__ import annotations

import heapq
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ..inside import inside, relative
from ..table.content import stamp_of
from ..table.records import TaskError, TaskRecord, WorkflowType, parse_time
from ..table.values import Kind, Result
from ..wording import Wording, wording_of
from .choice import fits, wanted_kinds
from .contents import Contents
from .embedded import embedded_tag
from .find import recent_files
from .formats import kind_by_name
from .whole import why_not_whole

#: Files that are shown to choose from, and that are read for that.
MOST_SHOWN: Final = 12
#: What savers number their files with.
_NUMBER: Final = re.compile(r"_\d+_?$")


@dataclass(frozen=True)
class Candidate:
    """A file that may be a task's result."""

    path: str
    kind: Kind
    size: int
    #: seconds since the epoch
    changed_at: float
    #: the task whose id it carries
    task_id: str | None


def file_named(contents: Contents, state_folder: Path, output_dir: Path, task: TaskRecord, name: str) -> Result:
    """The file of that name (relative to the output folder, or absolute inside it), with its hash. It may carry another
    task's id: a person may have rendered the row by another prompt.

    Raises TaskError for what lies elsewhere, is not there, not whole, or of a kind that the workflow does not make.
    """
    path, shown = inside(output_dir, name), relative(output_dir, name)
    if path is None or shown is None:
        raise TaskError(
            Wording(f"{name} does not lie inside the output folder", f"{name} 不在输出文件夹内")
            + Wording(" → put the file there first", " → 请先把文件放进去")
        )
    if _is_within(path, state_folder):
        raise TaskError(Wording(f"{shown} is a file of the task table", f"{shown} 是任务表自己的文件"))
    if stamp_of(path) is None:
        raise TaskError(Wording(f"there is no file {shown} in the output folder", f"输出文件夹里没有文件 {shown}"))
    seen = contents.stamped(shown)
    reason = why_not_whole(path)
    if reason is not None:
        raise TaskError(Wording(f"{shown} is not whole: {reason}", f"{shown} 不完整：{reason}"))
    result = contents.hashed(seen)
    if not fits(task, output_dir, result):
        raise TaskError(wording_of(shown) + _no_such_kind(task))
    if result.sha256 is None:
        raise TaskError(
            Wording(
                f"{shown} is being written, or cannot be read → try again", f"{shown} 正在被写入或无法读取 → 请重试"
            )
        )
    return result


def candidates(output_dir: Path, task: TaskRecord) -> list[Candidate]:
    """Whole files of the wanted kind, the likeliest first: with its id; under its own names; named like them; made
    while it ran. Walks the output folder, and reads no more than the few that are shown."""
    kinds = wanted_kinds(task)
    own = {*task.output_files, *task.found}
    alike = {_series(path) for path in own}
    began = parse_time(task.started_at or task.created_at)
    ended = parse_time(task.finished_at) or began

    def unlikely(file: tuple[str, os.stat_result]) -> tuple[bool, bool, float, str]:
        name, status = file
        away = max(began - status.st_mtime, status.st_mtime - ended, 0.0)
        return name not in own, _series(name) not in alike, away, name

    found = (
        (path.relative_to(output_dir).as_posix(), status)
        for path, status in recent_files(output_dir, 0.0)
        if kind_by_name(path.name) in kinds
    )
    nearest = heapq.nsmallest(MOST_SHOWN, found, key=unlikely)
    shown = [_looked_at(output_dir, task, name, status) for name, status in nearest]
    fitting = [candidate for candidate in shown if candidate is not None]
    return sorted(fitting, key=lambda candidate: candidate.task_id != task.task_id)


def _looked_at(output_dir: Path, task: TaskRecord, name: str, status: os.stat_result) -> Candidate | None:
    path = inside(output_dir, name)
    if path is None or why_not_whole(path) is not None or not fits(task, output_dir, Result(name)):
        return None
    tag = embedded_tag(path)
    kind = kind_by_name(name)
    return Candidate(name, kind, status.st_size, status.st_mtime, tag.task_id if tag is not None else None)


def _series(name: str) -> str:
    """Folder and name without the number: what a saver's files have in common."""
    path = PurePosixPath(name)
    return str(path.parent / _NUMBER.sub("", path.stem))


def _is_within(path: Path, folder: Path) -> bool:
    """Also by another name: through a link, or in other letters."""
    real = Path(os.path.realpath(path))
    return any(parent.exists() and parent.samefile(folder) for parent in real.parents) if folder.exists() else False


def _no_such_kind(task: TaskRecord) -> Wording:
    if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value:
        return Wording(" is no video", " 不是视频")
    if task.workflow_type == WorkflowType.IMAGE_COMPOSITION.value:
        return Wording(" is no picture", " 不是图片")
    return Wording(" is no picture, video or sound", " 不是图片、视频或音频")
