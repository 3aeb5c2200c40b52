"""What ComfyUI's queue and history say of a prompt, in one small type.

The shapes are those of ComfyUI 0.3.64 to 0.38: an interruption is an "error" whose last message is
`execution_interrupted`; `status` may be null; videos stand under `images`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ..redact import redact, secret_values
from ..wording import Wording, wording_of


class Place(str, Enum):
    """Where a prompt was seen."""

    #: ComfyUI did not answer, or not completely: nothing may be concluded
    UNKNOWN = "unknown"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    #: queue *and* history answered, and it is in neither
    ABSENT = "absent"
    #: the plugin has it and waits for a person's decision
    ASKING = "asking"


#: Where a prompt is when there is nothing more to wait for.
COME_TO_REST: Final = frozenset({Place.SUCCEEDED, Place.FAILED, Place.INTERRUPTED, Place.ASKING})


@dataclass(frozen=True)
class ResultFile:
    """A file as a node of ComfyUI names it; where that is on disk, `results/reported.py` finds out."""

    filename: str
    subfolder: str = ""
    type: str = "output"
    #: its whole path on ComfyUI's computer, where the node tells that as well
    fullpath: str = field(default="", compare=False)
    #: the node that named it
    node: str | None = field(default=None, compare=False)
    #: where it can be fetched from, for as long as the engine keeps it there
    url: str = field(default="", compare=False, repr=False)
    #: False for a text that may be a file's name, or may be none
    sure: bool = field(default=True, compare=False)

    @property
    def path(self) -> str:
        """As it is named, with "/"; relative to the output folder, unless the node says otherwise."""
        folder = self.subfolder.replace("\\", "/").rstrip("/")
        return f"{folder}/{self.filename}" if folder else self.filename

    @classmethod
    def from_path(cls, path: str) -> ResultFile:
        folder, _, name = path.rpartition("/")
        return cls(name, folder)

    @classmethod
    def from_url(cls, url: str, node: str | None = None) -> ResultFile:
        """A file that lies at an address: its name is the end of the path, whatever query comes after that. What is no
        address cannot be fetched, which is told then."""
        try:
            path = unquote(urlsplit(url).path)
        except ValueError:
            path = ""
        name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return cls(name or "result", url=url, node=node)


@dataclass(frozen=True)
class Sighting:
    """A prompt's place, its files when it succeeded, and the reason when it did not."""

    place: Place
    files: tuple[ResultFile, ...] = ()
    message: Wording | None = None
    #: how many more files it has than are named here
    unlisted: int = 0


UNKNOWN: Final = Sighting(Place.UNKNOWN)
ABSENT: Final = Sighting(Place.ABSENT)

_OUT_OF_MEMORY: Final = Wording(
    " (out of GPU memory: a smaller picture or fewer frames may fit)", "（显存不足：缩小图片或减少帧数也许可行）"
)
#: In the message of an interruption that is none: the plugin has let the prompt end unrun, for it is somebody else's.
NOT_RUN: Final = "wfrecovery_not_run"
INTERRUPTED: Final = Wording("interrupted by the user", "被用户中断")

#: How deep a node may nest what it names.
_MAX_DEPTH: Final = 4
#: A text that may be a file's name: one line, with a suffix.
_LIKE_A_FILE: Final = re.compile(r"[^\n\r\0<>|\"*?]{1,400}\.[A-Za-z0-9]{2,5}")

_TERMINAL: Final = {
    "execution_success": Place.SUCCEEDED,
    "execution_error": Place.FAILED,
    "execution_interrupted": Place.INTERRUPTED,
}


def sighting_of_history(entry: Mapping[str, Any]) -> Sighting:
    """How a prompt ended, from its history entry.

    The last terminal message decides, then `status_str`: an error while staging a node can leave "success" there.
    """
    status = entry.get("status") or {}
    place, data = _last_terminal(status.get("messages") or ())
    if place is None:
        place = Place.FAILED if status.get("status_str") == "error" else Place.SUCCEEDED
    if place is Place.SUCCEEDED:
        return Sighting(place, files_of_outputs(entry.get("outputs") or {}))
    if place is Place.INTERRUPTED:
        return ABSENT if NOT_RUN in data else Sighting(place, message=INTERRUPTED)
    return Sighting(place, message=error_text(data, _secrets_of(entry.get("prompt"))))


def _secrets_of(item: Any) -> list[str]:
    """What a node's message must not quote: secrets in the graph and beside it, by the queue item in the history."""
    parts = item[2:4] if isinstance(item, list | tuple) else ()
    return [text for part in parts if isinstance(part, Mapping) for text in secret_values(part)]


def _last_terminal(messages: Sequence[Any]) -> tuple[Place | None, Mapping[str, Any]]:
    for message in reversed(messages):
        if isinstance(message, Sequence) and len(message) == 2 and message[0] in _TERMINAL:
            return _TERMINAL[message[0]], message[1] if isinstance(message[1], Mapping) else {}
    return None, {}


def files_of_outputs(outputs: Mapping[str, Any]) -> tuple[ResultFile, ...]:
    """The files in the output folder that the nodes' outputs name; previews in `temp` are no results."""
    return tuple(file for node, output in outputs.items() for file in files_of_node(output, str(node)))


def files_of_node(output: Any, node: str | None = None) -> tuple[ResultFile, ...]:
    """The same for one node's output, whatever key it uses (`images`, `gifs`, `video`, `audio`, `3d` …) and however it
    names them: an object with or without `type` or `subfolder`, a whole path, a plain text."""
    return tuple(dict.fromkeys(_named(output, node, _MAX_DEPTH)))


def _named(value: Any, node: str | None, depth: int) -> Iterator[ResultFile]:
    if isinstance(value, Mapping):
        file = _file_of(value, node)
        if file is not None:
            if file.type == "output":
                yield file
        elif depth:
            for item in value.values():
                yield from _named(item, node, depth - 1)
    elif isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str) and _LIKE_A_FILE.fullmatch(text):
            folder, _, name = text.replace("\\", "/").rpartition("/")
            yield ResultFile(name, folder or text[: -len(name)], node=node, sure=False)
    elif isinstance(value, Sequence) and not isinstance(value, bytes) and depth:
        for item in value:
            yield from _named(item, node, depth - 1)


def _file_of(item: Mapping[str, Any], node: str | None) -> ResultFile | None:
    """The file that an object names; None where it is about something else."""
    name, fullpath = (_text(item.get(key)) for key in ("filename", "fullpath"))
    if not name and not fullpath:
        return None
    folder = _text(item.get("subfolder"))
    if not name:
        folder, _, name = fullpath.replace("\\", "/").rpartition("/")
    kind = item.get("type")
    return ResultFile(name, folder, kind if isinstance(kind, str) and kind else "output", fullpath, node)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, os.PathLike) else ""


def error_text(data: Mapping[str, Any], secrets: Sequence[str] = ()) -> Wording:
    """The node's own message, without the inputs and traceback, which can hold prompts and keys, and `secrets`."""
    message = str(data.get("exception_message") or "").strip()
    kind = str(data.get("exception_type") or "").rpartition(".")[2]
    text = wording_of(message or kind)
    if "OutOfMemory" in kind or "out of memory" in message.lower():
        text = wording_of(message.splitlines()[0] if message else kind) + _OUT_OF_MEMORY
    elif not text:
        text = Wording("ComfyUI reported an error without a message", "ComfyUI 报错，但没有给出原因")
    node = data.get("node_type")
    return (wording_of(f"{node} (node {data.get('node_id')}): " if node else "") + text).changed(
        lambda said: redact(said, secrets)
    )
