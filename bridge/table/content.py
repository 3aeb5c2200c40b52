"""What a result file is known by: its stamp, taken without reading it, and the hash of its content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from ..inside import inside
from .disk import FileStamp
from .values import Result

_BLOCK: Final = 1024 * 1024


def stamp_of(path: Path | None) -> FileStamp | None:
    """The file as it is now; None when there is none, or no place where one may be."""
    if path is None:
        return None
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    is_file = stat.S_ISREG(status.st_mode)
    return FileStamp(status.st_mtime_ns, status.st_size, status.st_ino) if is_file else None


def opened(path: Path) -> BinaryIO:
    """The file, to be read; raises OSError, also for what is none: to open a pipe waits for who writes into it."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return path.open("rb")


def hash_of(path: Path, ends: Callable[[], bool] = lambda: False) -> str:
    """SHA-256 of the content, in hex; raises OSError, also for what is no file, and where nobody waits for it any more
    (`ends`)."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while block := file.read(_BLOCK):
            if ends():
                raise InterruptedError(errno.EINTR, "not read to its end", str(path))
            digest.update(block)
    return digest.hexdigest()


def stamped(output_dir: Path, name: str, node: str | None = None) -> Result:
    """A result as its file is now, without reading it; what lies outside `output_dir` is not looked at."""
    stamp = stamp_of(inside(output_dir, name))
    return Result(name, node=node, size=stamp.size if stamp else None, stamp=stamp)


def taken(output_dir: Path, name: str, node: str | None = None) -> Result:
    """A result as its file is now, with the hash where nobody changed the file while it was read.

    A file that cannot be read gives no more than its name.
    """
    path, result = inside(output_dir, name), stamped(output_dir, name, node)
    if path is None or result.stamp is None:
        return result
    try:
        digest = hash_of(path)
    except OSError:
        return Result(name, node=node)
    return replace(result, sha256=digest) if stamp_of(path) == result.stamp else result
