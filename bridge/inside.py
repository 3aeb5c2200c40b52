"""What lies inside the output folder: the one answer for whatever is read, recorded, shown or pushed."""

from __future__ import annotations

import os
from pathlib import Path


def inside(output_dir: Path, name: str | Path) -> Path | None:
    """The path of `name` (relative to the folder, or absolute) when it lies inside `output_dir`, else None.

    As it is written: a folder inside that is a link to another disk is inside, as it is for ComfyUI; a file that is a
    link leading out is not. Nothing need exist.
    """
    text = str(name)
    if not text or "\0" in text:
        return None
    path = Path(os.path.normpath(output_dir / text))
    if path == output_dir or not path.is_relative_to(output_dir):
        return _by_another_name(output_dir, path)
    if path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
        return None
    return path


def relative(output_dir: Path, name: str | Path) -> str | None:
    """The same as records hold it: relative to `output_dir`, with "/"."""
    path = inside(output_dir, name)
    return None if path is None else path.relative_to(output_dir).as_posix()


def _by_another_name(output_dir: Path, path: Path) -> Path | None:
    """The output folder may have two names: a link to it, another case on Windows."""
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(output_dir))
    return output_dir / real.relative_to(folder) if real != folder and real.is_relative_to(folder) else None
