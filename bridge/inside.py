"""What lies inside the output folder: the one answer for whatever is read, recorded, shown or pushed."""

from __future__ import annotations

import os
import re
from pathlib import Path, PureWindowsPath
from typing import Final

#: Windows takes these for devices, also with anything after a dot.
DEVICE: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\..*)?", re.I | re.S)


def inside(output_dir: Path, name: str | Path) -> Path | None:
    """The path of `name` (relative to the folder, or absolute) when it lies inside `output_dir`, else None.

    As it is written: a folder inside that is a link to another disk is inside, as it is for ComfyUI; a file that is a
    link leading out is not. Nothing need exist. Only the path that is returned may be opened: in `link/../x` the
    system goes to where the link leads before it goes up.
    """
    text = str(name)
    if not text or "\0" in text or (os.name == "nt" and is_windows_trap(text, output_dir.drive)):
        return None
    path = Path(os.path.normpath(output_dir / text))
    if path == output_dir or not path.is_relative_to(output_dir):
        return _by_another_name(output_dir, path)
    return None if _leads_out(path) else path


def relative(output_dir: Path, name: str | Path) -> str | None:
    """The same as records hold it: relative to `output_dir`, with "/"."""
    path = inside(output_dir, name)
    return None if path is None else path.relative_to(output_dir).as_posix()


def is_windows_trap(name: str, own_drive: str) -> bool:
    """Whether Windows would do something else than look into a folder: send the user's credentials to another computer
    (`\\\\host\\share`), open a device (`nul.png`), or a second content of a file (`a.png:b`)."""
    path = PureWindowsPath(name)
    if path.drive.startswith("\\\\") and path.drive.lower() != own_drive.lower():
        return True
    parts = path.parts[1:] if path.anchor else path.parts
    return any(":" in part or DEVICE.fullmatch(part) for part in parts)


def _leads_out(path: Path) -> bool:
    try:
        return path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError):  # a name that no file can have, a link in a circle
        return True


def _by_another_name(output_dir: Path, path: Path) -> Path | None:
    """The output folder may have two names: a link to it, another case on Windows."""
    try:
        real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(output_dir))
    except ValueError:  # a name that no file can have
        return None
    return output_dir / real.relative_to(folder) if real != folder and real.is_relative_to(folder) else None
