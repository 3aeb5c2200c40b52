"""The other process of `folder_test.py`: run as a script by a bare Python, it imports nothing of ours.

    python -I -S folder_holder.py LOCK DATA LIBRARY TOKEN…

With the `filelock` that lies in the folder LIBRARY it says `ready`, holds LOCK, and says `held` and which file that
is. Then it reads DATA until it has seen the last TOKEN, and says whether it was `whole` all the time: TOKENs alone.
Then it waits to be killed; if who started it dies first, it removes the files of the test.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any, Final

#: How often a token stands in the file.
LENGTH: Final = 4096


def load_filelock(library: str) -> Any:
    """That one, whatever else is installed for this Python; what it imports may come from beside it."""
    sys.path.append(library)
    spec = PathFinder.find_spec("filelock", [library])
    if spec is None or spec.loader is None:
        raise ImportError(f"no filelock in {library}")
    module = sys.modules["filelock"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reads_whole(data: Path, tokens: list[str]) -> bool:
    """Whether each look at `data` finds one whole content, until it is the last one's."""
    contents = [token.encode() * LENGTH for token in tokens]
    while True:
        try:
            seen = data.read_bytes()
        except PermissionError:  # Windows, for as long as it is replaced
            continue
        except FileNotFoundError:
            return False
        if seen not in contents:
            return False
        if seen == contents[-1]:
            return True


def leave_when_alone(stem: str, folder: Path) -> None:
    """End as soon as the other one is gone, whatever is being done."""
    sys.stdin.read()
    for path in folder.glob(f"*{stem}*"):
        path.unlink(missing_ok=True)
    os._exit(0)


def tell(*words: object) -> None:
    """One line for the other one; `leave_when_alone` sees to it when nobody is there to read it."""
    with contextlib.suppress(OSError):
        print(*words, flush=True)


def main(lock_path: str, data: str, library: str, *tokens: str) -> None:
    """Hold, tell, read, tell, wait."""
    path = Path(lock_path)
    alone = threading.Thread(target=leave_when_alone, args=(path.name.split(".")[0], path.parent))
    alone.start()
    try:
        lock = load_filelock(library).FileLock(path, fallback_to_soft=False)
        tell("ready")
        lock.acquire(timeout=0)
        tell("held", path.stat().st_ino)
        tell("whole" if reads_whole(Path(data), list(tokens)) else "torn")
    except Exception as error:
        tell("error", f"{type(error).__name__}: {error}".replace("\n", " "))
    alone.join()  # `lock` is held until then


if __name__ == "__main__":
    main(*sys.argv[1:])
