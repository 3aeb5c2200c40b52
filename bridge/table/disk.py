"""Every file operation of the task table, and nothing else.

One seam, so that tests can count, kill, fail, shorten and record each single operation. What each step is for, and
what breaks without it, was measured: see "Durability" in the README.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

if sys.platform == "darwin":
    from fcntl import F_FULLFSYNC, fcntl

log = logging.getLogger("wfrecovery")

#: ComfyUI's asset scanner skips this suffix, so a half-written file never shows up as an asset.
TEMP_SUFFIX: Final = ".tmp"

#: Windows: another program (virus scanner, indexer, a reader) has the target open for a moment.
_SHARING_VIOLATIONS: Final = frozenset({5, 32, 33})
_REPLACE_WAITS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # seconds, 1.6 in all

#: What a mount answers that cannot sync a folder at all.
_FOLDER_SYNC_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})

#: Bytes of a file of ours, where nothing else is said. A task record has about 2 KB.
MOST_BYTES: Final = 4 * 1024 * 1024

_temp_numbers = itertools.count()


class DurabilityUnknownError(OSError):
    """The file is in place and readable, but the disk did not confirm that its name would survive a power cut."""


class TooLargeError(OSError, ValueError):
    """The file was not read: it is far larger than what we write."""


class FileStamp(NamedTuple):
    """What tells a file from the one that was there before, without reading it."""

    #: nanoseconds since the epoch
    changed_at: int
    size: int
    inode: int


class Disk:
    """The real disk. Tests put their own in its place."""

    def make_folder(self, folder: Path) -> None:
        """Make `folder` and its parents; fine when it is there."""
        folder.mkdir(parents=True, exist_ok=True)

    def belongs(self, path: Path) -> None:
        """Give a folder, or a file that is not open here, to whom the folder around it belongs, as far as we may."""
        if os.name != "nt":
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    belongs_to(descriptor, path.parent)
                finally:
                    os.close(descriptor)

    def open_new(self, path: Path) -> int:
        """Open an empty file to write to; what was there is gone."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        return _made(path, flags)

    def make_lock_file(self, path: Path) -> None:
        """Make the file that is going to be locked, where it is not there; what locks it would make it for us alone."""
        if not path.exists():
            with contextlib.suppress(OSError):  # somebody else was faster, or who locks it finds out
                os.close(_made(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    def open_temp(self, target: Path) -> tuple[int, Path]:
        """Open a new temp file beside `target`; a rename is atomic only within one file system."""
        while True:
            temp = target.with_name(f".{target.name}.{os.getpid()}-{next(_temp_numbers)}{TEMP_SUFFIX}")
            with contextlib.suppress(FileExistsError):  # left by a process that had our number
                return _made(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)), temp

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write some of `data`; returns how many bytes went out, as `os.write` does."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Bring the file's content to the medium; on macOS plain fsync stops at the drive's cache."""
        if sys.platform == "darwin":
            with contextlib.suppress(OSError):  # not every mount knows it: fall through to fsync
                fcntl(descriptor, F_FULLFSYNC)
                return
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close the file."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename over `target`, atomically. Windows' sharing violations are waited out for a bounded time."""
        for wait in (*_REPLACE_WAITS, None):
            try:
                os.replace(source, target)
            except PermissionError as error:
                if wait is None or getattr(error, "winerror", None) not in _SHARING_VIOLATIONS:
                    raise
                time.sleep(wait)
            else:
                return

    def sync_folder(self, folder: Path) -> None:
        """Make renames inside `folder` durable. Windows has no such call."""
        if sys.platform == "win32":
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def create(self, path: Path) -> None:
        """Create an empty file, or raise FileExistsError: whoever creates it first owns the name."""
        os.close(_made(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    def unlink(self, path: Path) -> None:
        """Remove a file; fine when it is gone."""
        path.unlink(missing_ok=True)

    def read(self, path: Path, most: int = MOST_BYTES) -> bytes:
        """The whole file; raises OSError, also for what is no plain file, and TooLargeError for more than `most` bytes.
        On Windows a writer may be replacing it: retried for a bounded time."""
        for wait in (*_REPLACE_WAITS, None):
            try:
                return _content_of(path, most)
            except PermissionError as error:
                if wait is None or getattr(error, "winerror", None) not in _SHARING_VIOLATIONS:
                    raise
                time.sleep(wait)
        raise AssertionError("unreachable")

    def exists(self, path: Path) -> bool:
        """Whether the file is there. Raises OSError where that cannot be told: from Python 3.14 on `Path.exists` says
        no to any error, and what a network drive does not find for a moment would be taken for gone."""
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def names(self, folder: Path, *, must_be_folder: bool = False) -> list[str]:
        """The names in `folder`, sorted; none when the folder is not there. Raises OSError; where it is a file, only if
        it must be a folder."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            if must_be_folder:
                raise
            return []

    def changed_at(self, path: Path) -> int | None:
        """When the file or the list of names in the folder was changed, in nanoseconds; None when it is not there."""
        try:
            return path.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stamps(self, folder: Path) -> dict[str, FileStamp]:
        """The files in `folder` by name; none when the folder is not there. Raises OSError, also where it is a file."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    status = entry.stat()
                    found[entry.name] = FileStamp(status.st_mtime_ns, status.st_size, status.st_ino)
        return found


def _content_of(path: Path, most: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:  # to read a pipe would wait for whoever writes into it, for ever
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "this is no plain file", str(path))
        if status.st_size > most:
            raise TooLargeError(errno.EFBIG, f"{status.st_size} bytes are no file of ours", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _made(path: Path, flags: int) -> int:
    descriptor = os.open(path, flags, 0o644)
    belongs_to(descriptor, path.parent)
    return descriptor


def belongs_to(descriptor: int, folder: Path) -> None:
    """Give an open file or folder the owner, group and rights of the folder around it, as far as we may.

    ComfyUI may run as root in a container and main.py as a user beside it, or several users share a folder by its
    group: what one writes the other must be able to read, replace and lock. Who may not change it leaves it as it is.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        wanted, found = folder.stat(), os.fstat(descriptor)
        if os.geteuid() == 0 and (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
            os.fchown(descriptor, wanted.st_uid, wanted.st_gid)
        elif wanted.st_gid != found.st_gid:
            with contextlib.suppress(OSError):  # not of that group
                os.fchown(descriptor, -1, wanted.st_gid)
        mode = _mode_inside(wanted.st_mode, found.st_mode)
        if mode != stat.S_IMODE(os.fstat(descriptor).st_mode):  # asked again: a new owner may have cost the group's bit
            os.fchmod(descriptor, mode)


def _mode_inside(folder: int, made: int) -> int:
    """The rights of what was made in a folder; its owner can always read and write it."""
    if stat.S_ISDIR(made):
        return (folder & 0o777) | (folder & stat.S_ISGID) | 0o700
    return (folder & 0o666) | 0o600


class AtomicFiles:
    """Whole files, replaced so that after any crash there is the old content or the new, never a mixture.

    Folders that are made under `root` belong to whom that belongs, as every file does to whom its folder belongs.
    """

    def __init__(self, disk: Disk, root: Path | None = None) -> None:
        self.disk, self._root = disk, root
        self._warned_folder_sync = False
        #: of each thread what `in_one` is to raise
        self._threads = threading.local()

    @contextlib.contextmanager
    def in_one(self) -> Iterator[None]:
        """Several writes that are one change: a name on the way that the disk does not confirm keeps none of those that
        follow from being made. DurabilityUnknownError is raised when all of them are."""
        if getattr(self._threads, "unconfirmed", None) is not None:  # a change within one
            yield
            return
        unconfirmed: list[DurabilityUnknownError] = []
        self._threads.unconfirmed = unconfirmed
        try:
            yield
        finally:
            self._threads.unconfirmed = None
        if unconfirmed:
            raise unconfirmed[0]

    def write(self, target: Path, data: bytes) -> None:
        """Write `data` to `target`; when this returns it survives a power cut.

        Raises OSError with the old content intact, or DurabilityUnknownError with the new content in place.
        """
        descriptor, temp = self.disk.open_temp(target)
        try:
            try:
                self._write_all(descriptor, data)
                self.disk.sync(descriptor)
            finally:
                self.disk.close(descriptor)
            self.disk.replace(temp, target)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one that matters; litter is swept at start
                self.disk.unlink(temp)
            raise
        self.sync_folder(target.parent)

    def make_folder(self, folder: Path) -> None:
        """Make `folder` and its parents durably: what is in a folder is worth as much as the folder's own name."""
        missing = list(itertools.takewhile(lambda path: not self.disk.exists(path), (folder, *folder.parents)))
        if missing:
            self.disk.make_folder(folder)
        for path in reversed(missing):
            if self._root is not None and path != self._root and path.is_relative_to(self._root):
                self.disk.belongs(path)
            self.sync_folder(path.parent)

    def move(self, source: Path, target: Path) -> None:
        """Rename across folders and sync both, so that the file is in one of them after a power cut."""
        self.make_folder(target.parent)
        self.disk.replace(source, target)
        self.sync_folder(target.parent)
        self.sync_folder(source.parent)

    def discard(self, path: Path) -> None:
        """Remove what is of no use any more. What cannot be removed (a folder, a file that another program has open) is
        in nobody's way."""
        try:
            self.disk.unlink(path)
        except OSError as error:
            log.info("[wfrecovery] %s is left where it is: %s", path, error)

    def sync_folder(self, folder: Path) -> None:
        """Sync `folder`; a mount that cannot is accepted and named once in the log."""
        try:
            self.disk.sync_folder(folder)
        except (FileNotFoundError, NotADirectoryError):  # somebody has removed it, with all that was in it
            raise
        except OSError as error:
            if error.errno not in _FOLDER_SYNC_UNSUPPORTED:
                said = f"saved, but not confirmed by the disk: {error}"
                unknown = DurabilityUnknownError(error.errno, said, str(folder))
                unconfirmed = getattr(self._threads, "unconfirmed", None)
                if unconfirmed is None:
                    raise unknown from error
                unconfirmed.append(unknown)
            elif not self._warned_folder_sync:
                self._warned_folder_sync = True
                log.warning(
                    "[wfrecovery] %s cannot be synced (%s): a power cut may lose the newest records", folder, error
                )

    def _write_all(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self.disk.write(descriptor, rest)
            if written <= 0:
                raise OSError(errno.EIO, "the disk took no more bytes")
            rest = rest[written:]
