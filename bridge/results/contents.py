"""A result is its content: taken when its task ends, kept while it waits, and looked at again before it is used.

A file of the same name that holds something else is never used; who asks is told whether it was replaced or is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..inside import inside
from ..table.content import hash_of, opened, stamp_of, stamped
from ..table.disk import Disk
from ..table.files import TableFiles
from ..table.records import TaskRecord, parse_time
from ..table.values import Kind, Result
from ..wording import Wording
from .embedded import embedded_tag
from .formats import kind_of

log = logging.getLogger("wfrecovery")

#: Larger files are hashed while the next prompt runs already.
HASHED_AT_ONCE: Final = 64 * 1024 * 1024
#: Pictures that wait for Feishu take no more room than this, all together; and leave so much of the disk free.
KEPT_BYTES: Final = 2 * 1024**3
_LEFT_FREE: Final = 1024**3
#: By clocks of a disk and of a computer; FAT has ticks of 2 s.
_CLOCK_SECONDS: Final = 2.0
#: Linux' ioctl that makes one file share another's blocks (linux/fs.h).
_FICLONE: Final = 0x40049409


class ResultGoneError(LookupError):
    """The file does not hold this task's result any more; `wording` says what became of it, `kind` in one word."""

    def __init__(self, kind: str, wording: Wording) -> None:
        self.kind, self.wording = kind, wording
        super().__init__(wording.en)


class Contents:
    """The result files under one output folder."""

    def __init__(self, files: TableFiles, output_dir: Path) -> None:
        self._files, self._output_dir = files, output_dir
        self._kept_bytes: int | None = None

    # ------------------------------------------------------------------ when a task ends

    def looked_at(self, result: Result) -> Result:
        """The same with its kind, by the beginning of its content."""
        path = inside(self._output_dir, result.path)
        return dataclasses.replace(result, kind=kind_of(path)) if path is not None else result

    def hashed(self, result: Result, ends: Callable[[], bool] = lambda: False) -> Result:
        """The same with kind and hash; without a hash where its file is another one by now, or cannot be read."""
        path = inside(self._output_dir, result.path)
        if path is None or result.stamp is None or stamp_of(path) != result.stamp:
            return result
        try:
            digest = hash_of(path, ends)
        except InterruptedError:
            return result
        except OSError as error:
            log.warning("[wfrecovery] %s cannot be read: %s", path, error)
            return result
        seen = self.looked_at(result)
        return dataclasses.replace(seen, sha256=digest) if stamp_of(path) == result.stamp else result

    def keep(self, task_id: str, result: Result) -> bool:
        """Keep a picture that waits to be pushed as a copy, whatever becomes of its file; False where that is not
        possible or would take too much room. A hard link would be changed along with the file."""
        source, target = inside(self._output_dir, result.path), self._files.kept_path(task_id)
        if source is None or result.kind is not Kind.PICTURE or result.sha256 is None or result.size is None:
            return False
        try:
            if self._room() + result.size > KEPT_BYTES or not self._enough_left(result.size):
                return False
            self._files.atomic.make_folder(target.parent)
            _copy(source, target, self._files.disk)
            if hash_of(target) != result.sha256:  # replaced while it was copied
                target.unlink()
                return False
        except OSError as error:
            log.info("[wfrecovery] %s: no copy is kept of %s: %s", task_id, result.path, error)
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
            return False
        self._kept_bytes = (self._kept_bytes or 0) + result.size
        return True

    def _room(self) -> int:
        """How much is kept, counted anew when the bound comes near: others remove what is pushed."""
        if self._kept_bytes is None or self._kept_bytes > KEPT_BYTES // 2:
            stamps = self._files.disk.stamps(self._files.kept)
            self._kept_bytes = sum(stamp.size for stamp in stamps.values())
        return self._kept_bytes

    def _enough_left(self, size: int) -> bool:
        return shutil.disk_usage(self._output_dir).free > size + _LEFT_FREE

    # ------------------------------------------------------------------ before it is used

    def stamped(self, name: str) -> Result:
        """A file inside the output folder as it is now."""
        return stamped(self._output_dir, name)

    def read(self, task: TaskRecord, result: Result) -> bytes:
        """The content of a result; raises ResultGoneError. Looked at and read in one: nobody can replace it between."""
        path = self._path(result)
        if result.sha256 is None:
            self._check_unread(task, result, path)
            try:
                return _read(path)
            except OSError:
                raise self._gone(task, result, path) from None
        for candidate in (path, self._files.kept_path(task.task_id)):
            with contextlib.suppress(OSError):
                content = _read(candidate)
                if hashlib.sha256(content).hexdigest() == result.sha256:
                    return content
        raise self._gone(task, result, path)

    def verified(self, task: TaskRecord, result: Result) -> Path:
        """Where the content of a result lies, read through to its end: its own file, or the copy that was kept.

        Raises ResultGoneError.
        """
        path = self._path(result)
        if result.sha256 is None:
            self._check_unread(task, result, path)
            return path
        for candidate in (path, self._files.kept_path(task.task_id)):
            with contextlib.suppress(OSError):
                if hash_of(candidate) == result.sha256:
                    return candidate
        raise self._gone(task, result, path)

    def shown(self, task: TaskRecord, result: Result) -> Path:
        """The same for looking at it: a file with the stamp that it had then is not read again."""
        path = self._path(result)
        if result.stamp is not None and stamp_of(path) == result.stamp:
            return path
        return self.verified(task, result)

    def there(self, task: TaskRecord) -> bool:
        """Whether all results of a task are still what they were."""
        try:
            return all(self.shown(task, result) for result in task.results)
        except ResultGoneError:
            return False

    def _path(self, result: Result) -> Path:
        path = inside(self._output_dir, result.path)
        if path is None:
            raise ResultGoneError(
                "outside",
                Wording(
                    f"{result.path} lies outside the output folder, where nothing is read",
                    f"{result.path} 不在输出文件夹内，不会读取",
                ),
            )
        return path

    def _check_unread(self, task: TaskRecord, result: Result, path: Path) -> None:
        """A result without a hash: of an older version, or ComfyUI ended before the file could be read."""
        stamp = stamp_of(path)
        if stamp is None:
            raise self._gone(task, result, path)
        if result.stamp is not None:
            if stamp != result.stamp:
                raise self._gone(task, result, path)
            return
        tag = embedded_tag(path)
        if tag is not None and (tag.task_id, tag.prompt_id) == (task.task_id, task.comfyui_task_id):
            return
        finished_at = parse_time(task.finished_at)
        if tag is None and finished_at and stamp.changed_at / 1e9 <= finished_at + _CLOCK_SECONDS:
            return
        what = _what(task)
        raise ResultGoneError(
            "unknown",
            Wording(
                f"whether {result.path} is still this task's result cannot be told: it was changed after the task "
                f"finished → look at it, then render {what.en} again",
                f"{result.path} 在任务完成之后被改动过，无法确定是否仍是该任务的结果 → 请查看后重新生成{what.zh}",
            ),
        )

    def _gone(self, task: TaskRecord, result: Result, path: Path) -> ResultGoneError:
        what = _what(task)
        if not path.exists():
            return ResultGoneError(
                "missing",
                Wording(
                    f"the result {result.path} is not there any more → put the file back, or render {what.en} again",
                    f"结果文件 {result.path} 已经不在 → 请放回文件，或重新生成{what.zh}",
                ),
            )
        tag = embedded_tag(path)
        by = tag.task_id if tag is not None and tag.task_id != task.task_id else ""
        return ResultGoneError(
            "replaced",
            Wording(
                f"{result.path} was replaced by another file{f' (of {by})' if by else ''} → render {what.en} "
                "again, and let the saver number its files",
                f"{result.path} 已被另一个文件覆盖{f'（{by}）' if by else ''} → 请重新生成{what.zh}，"
                "并让保存节点给文件编号",
            ),
        )


def _what(task: TaskRecord) -> Wording:
    """What there is to render again."""
    return Wording("it", "") if task.row_number is None else Wording("the row", "该行")


def _read(path: Path) -> bytes:
    with opened(path) as file:
        return file.read()


def _copy(source: Path, target: Path, disk: Disk) -> None:
    """A copy that shares the blocks with the original where the file system can."""
    with opened(source) as read, os.fdopen(disk.open_new(target), "wb") as written:
        if sys.platform == "linux":
            import fcntl  # noqa: PLC0415 - not on every system

            with contextlib.suppress(OSError):
                fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
                return
        shutil.copyfileobj(read, written, 1024 * 1024)
