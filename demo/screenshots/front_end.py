"""ComfyUI's own page, the package comfyui-frontend-package, for the stand-in to serve.

The package is not a dependency: pip fetches the wanted version once, into a folder of the user's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["NEWEST", "OLDEST", "FrontEndMissingError", "front_end"]

#: The one that ComfyUI 0.3.64 pins, the oldest that is supported.
OLDEST: Final = "1.27.10"
#: The newest that the page was tried with.
NEWEST: Final = "1.58.1"

_PACKAGE: Final = "comfyui-frontend-package"
_STATIC: Final = Path("comfyui_frontend_package", "static")


class FrontEndMissingError(RuntimeError):
    """The page is not in the cache, and pip could not fetch it; the message has pip's last words."""


def front_end(version: str) -> Path:
    """The folder of the page's files, fetched when the cache does not have it; raises FrontEndMissingError."""
    target = _cache() / version
    if not _whole(target):
        _fetch(version, target)
    return target / _STATIC


def _cache() -> Path:
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "wfrecovery" / "front-end"


def _fetch(version: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Fetched beside and renamed when whole: a run that is stopped half-way leaves nothing that looks finished.
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        wanted = f"{_PACKAGE}=={version}"
        options = ["--quiet", "--no-deps", "--no-compile", "--retries", "2", "--target", str(folder)]
        command = [sys.executable, "-m", "pip", "install", *options, wanted]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode or not _whole(folder):
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise FrontEndMissingError(f"pip could not fetch {wanted}: {words[-1] if words else 'no reason given'}")
        _move(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    if not _whole(target):
        shutil.rmtree(target, ignore_errors=True)
    try:
        folder.replace(target)
    except OSError:
        # Another process was faster.
        if not _whole(target):
            raise


def _whole(folder: Path) -> bool:
    return (folder / _STATIC / "index.html").is_file()
