"""How far a video's upload has come, as it is kept over restarts, and whether it is still the same file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..wording import Wording
from .errors import FeishuError, Remedy

#: Letters of a name in Drive.
MAX_NAME: Final = 250


@dataclass(frozen=True)
class Progress:
    """How far an upload has come; what the caller keeps of it survives the process."""

    #: of which file, under which name, into which folder (a digest): another one starts anew
    size: int
    mtime_ns: int
    name: str
    folder: str
    upload_id: str = ""
    block_size: int = 0
    block_num: int = 0
    #: so many parts have arrived, from the first
    parts: int = 0
    #: the call that makes the file was sent; without an answer, the file may be there
    sending: bool = False
    file_token: str = ""
    url: str = ""

    def resumed(self, state: Mapping[str, Any]) -> Progress:
        """As kept in `state`, if that is about the same file."""
        kept = {item.name: state[item.name] for item in dataclasses.fields(self) if item.name in state}
        if any(type(value) is not type(getattr(self, name)) for name, value in kept.items()):
            return self
        about = ("size", "mtime_ns", "name", "folder")
        if any(kept.get(name) != getattr(self, name) for name in about):
            return self
        resumed = replace(self, **kept)
        planned = resumed.block_size > 0 and resumed.block_num > 0 and 0 <= resumed.parts <= resumed.block_num
        return resumed if planned or not resumed.upload_id else self

    def anew(self) -> Progress:
        """Back to the beginning of the same file."""
        return Progress(self.size, self.mtime_ns, self.name, self.folder)


@dataclass
class Source:
    """A file while it is uploaded, and what is known of its upload."""

    path: Path
    progress: Progress
    store: Callable[[dict[str, Any]], None] = field(repr=False)

    def keep(self, **changes: Any) -> None:
        """Note what has happened, and have it stored."""
        self.progress = replace(self.progress, **changes)
        self.store(vars(self.progress).copy())

    def read(self, start: int, size: int) -> bytes:
        """A piece of the file; raises FeishuError if it is no longer what it was."""
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                piece = file.read(size)
            same = _same_file(self.path, self.progress)
        except OSError as error:
            raise _not_readable(self.path, error) from error
        if len(piece) < size or not same:
            raise FeishuError(
                Wording(
                    f"{self.path.name} changed while it was uploaded; the upload starts anew",
                    f"上传时 {self.path.name} 有变化；会重新上传",
                )
            )
        return piece


def source_of(
    path: Path, name: str, folder_token: str, state: Mapping[str, Any], store: Callable[[dict[str, Any]], None]
) -> Source:
    """The file as it is now, with the progress that `state` tells of it; raises FeishuError where it cannot be sent."""
    try:
        found = path.stat()
    except OSError as error:
        raise _not_readable(path, error) from error
    folder = hashlib.sha256(folder_token.encode()).hexdigest()[:12]
    progress = Progress(
        found.st_size, found.st_mtime_ns, _name_in_drive(name, f"{found.st_size} {found.st_mtime_ns}"), folder
    ).resumed(state)
    if not progress.size:
        raise FeishuError(
            Wording(f"{path.name} is empty; Feishu takes no empty file", f"{path.name} 是空文件，飞书不接受空文件"),
            remedy=Remedy.FINAL,
        )
    return Source(path, progress, store)


def _same_file(path: Path, progress: Progress) -> bool:
    found = path.stat()
    return (found.st_size, found.st_mtime_ns) == (progress.size, progress.mtime_ns)


def _not_readable(path: Path, error: OSError) -> FeishuError:
    reason = error.strerror or str(error)
    return FeishuError(
        Wording(f"{path.name} cannot be read: {reason}", f"{path.name} 无法读取：{reason}"), remedy=Remedy.FINAL
    )


def _name_in_drive(name: str, version: str) -> str:
    """`name` with a mark of this version of the file before its ending, within Feishu's length."""
    ending = f"_{hashlib.sha256(version.encode()).hexdigest()[:8]}{Path(name).suffix}"
    return Path(name).stem[: MAX_NAME - len(ending)] + ending
