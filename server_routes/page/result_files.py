"""A task's files, as the page shows and opens them: only what is still the task's own."""

from __future__ import annotations

import mimetypes
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from ...bridge.results.by_hand import candidates
from ...bridge.results.contents import Contents, ResultGoneError
from ...bridge.results.formats import format_of
from ...bridge.table.records import TaskRecord, now_text
from ...bridge.table.values import Kind, Result

#: Of a result of which an older version recorded no more than the name.
_SHOWN: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif", ".mp4", ".webm", ".mov", ".mkv"})


class NoThumbnailError(LookupError):
    """There is nothing to show; the message says why."""


def result_file(contents: Contents, task: TaskRecord, name: str | None = None) -> Path:
    """Where a task's result lies, by its path in the record; else the one that is delivered, or the first that can be
    shown. Raises NoThumbnailError, or ResultGoneError when another file is in the place of a known one, or none."""
    if name is not None:
        wanted = [result for result in task.results if result.path == name]
    else:
        shown = [result for result in task.results if _can_be_shown(result)]
        wanted = [result for result in shown if result.path == task.outbox.file] or shown
    if not wanted:
        raise NoThumbnailError(f"{task.task_id} has no picture or video")
    try:
        return contents.shown(task, wanted[0])
    except ResultGoneError as error:
        if error.kind == "outside" or wanted[0].stamp is None:  # of which nothing was known but a name
            raise NoThumbnailError(str(error)) from error
        raise


def _can_be_shown(result: Result) -> bool:
    if result.kind is not None:
        return result.kind in (Kind.PICTURE, Kind.VIDEO)
    return Path(result.path).suffix.lower() in _SHOWN


def results_of(contents: Contents, task: TaskRecord, language: str) -> list[dict[str, Any]]:
    """Each file of a task: whether it is there, and if not, what became of it and what to do."""
    return [
        {
            "path": result.path,
            "kind": result.kind.value if result.kind else None,
            "delivered": result.path == task.outbox.file,
            **_state(contents, task, result, language),
        }
        for result in task.results
    ]


def _state(contents: Contents, task: TaskRecord, result: Result, language: str) -> dict[str, Any]:
    try:
        contents.shown(task, result)
    except ResultGoneError as error:
        return {"state": error.kind, "reason": error.wording.text(language)}
    return {"state": "there", "reason": None}


def candidates_of(output_dir: Path, task: TaskRecord) -> list[dict[str, Any]]:
    """The files among which a person may look for a task's result, the likeliest first."""
    return [
        {
            "path": file.path,
            "kind": file.kind.value,
            "size": file.size,
            "changed_at": now_text(datetime.fromtimestamp(file.changed_at, timezone.utc)),
            "task_id": file.task_id,
        }
        for file in candidates(output_dir, task)
    ]


def headers_of(path: Path, name: str) -> dict[str, str]:
    """How a browser is to take a file: pictures, videos and sound are shown, all else is saved, under the name that it
    has in the record. Judged by the content, for a page that a saver wrote must not run as one of ComfyUI's."""
    found = format_of(path)
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    called = "filename*=UTF-8''" + quote(PurePosixPath(name).name, safe="", errors="replace")
    kind = mimetypes.guess_type(f"x{found.suffix}")[0] if found is not None else None
    if found is None or kind is None or found.kind is Kind.OTHER:
        saved = f"attachment; {called}"
        return {**headers, "Content-Type": "application/octet-stream", "Content-Disposition": saved}
    return {**headers, "Content-Type": kind, "Content-Disposition": f"inline; {called}"}
