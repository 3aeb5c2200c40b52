"""What a result file is known by: its stamp, taken without reading it, and the hash of its content."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from .disk import FileStamp
from .values import Result

_BLOCK: Final = 1024 * 1024


def stamp_of(path: Path) -> FileStamp | None:
    """The file as it is now; None when there is none."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return FileStamp(stat.st_mtime_ns, stat.st_size, stat.st_ino)


def hash_of(path: Path) -> str:
    """SHA-256 of the content, in hex; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def stamped(output_dir: Path, name: str, node: str | None = None) -> Result:
    """A result as its file is now, without reading it."""
    stamp = stamp_of(output_dir / name)
    return Result(name, node=node, size=stamp.size if stamp else None, stamp=stamp)


def taken(output_dir: Path, name: str, node: str | None = None) -> Result:
    """A result as its file is now, with the hash where nobody changed the file while it was read.

    A file that cannot be read gives no more than its name.
    """
    path, result = output_dir / name, stamped(output_dir, name, node)
    if result.stamp is None:
        return result
    try:
        digest = hash_of(path)
    except OSError:
        return Result(name, node=node)
    return replace(result, sha256=digest) if stamp_of(path) == result.stamp else result
