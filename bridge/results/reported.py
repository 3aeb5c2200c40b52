"""Where the files lie that a node of ComfyUI has named: on disk, inside the output folder, or why not.

Nodes name files in many ways: a folder as an absolute path, the whole path beside the name, a pattern for a sequence of
frames, a plain text. What counts is the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from ..inside import inside, relative
from ..wording import Wording

#: A place for a number in a name: the frames of a sequence.
_NUMBER: Final = re.compile(r"%0?\d*d")
#: Frames of one sequence; more than a film of an hour has.
_MOST_FRAMES: Final = 200_000


class NamedFile(Protocol):
    """A file as a node names it (`engines/history.ResultFile`)."""

    @property
    def filename(self) -> str: ...
    @property
    def subfolder(self) -> str: ...
    @property
    def fullpath(self) -> str: ...
    @property
    def node(self) -> str | None: ...
    @property
    def sure(self) -> bool: ...


@dataclass(frozen=True)
class Reported:
    """What became of the names."""

    #: path relative to the output folder → the node that named it
    files: Mapping[str, str | None] = field(default_factory=dict)
    #: the same for what was named, lies inside the output folder, and is not there
    missing: Mapping[str, str | None] = field(default_factory=dict)
    #: path outside the output folder → the node that named it
    outside: Mapping[str, str | None] = field(default_factory=dict)
    #: files and missing ones, in the order in which they were named
    order: tuple[str, ...] = ()
    #: those of the files of which it is not sure that a file was meant
    unsure: frozenset[str] = frozenset()


def resolve(output_dir: Path, named: Iterable[NamedFile]) -> Reported:
    """Look for what was named. Nothing outside the output folder is looked at."""
    files: dict[str, str | None] = {}
    sure: set[str] = set()
    missing: dict[str, str | None] = {}
    order: dict[str, None] = {}
    outside: dict[str, str | None] = {}
    for file in named:
        places = list(dict.fromkeys(_places(output_dir, file)))
        there = [name for place in places for name in _on_disk(output_dir, place)]
        if there:
            files.update((name, file.node) for name in there if name not in files)
            order.update(dict.fromkeys(there))
            sure.update(there if file.sure else ())
        elif file.sure:
            within = [name for place in places if (name := relative(output_dir, place)) is not None]
            if within:
                missing.setdefault(within[0], file.node)
                order[within[0]] = None
            elif places:
                outside.setdefault(str(places[0]), file.node)
    return Reported(files, missing, outside, tuple(order), frozenset(files.keys() - sure))


def _places(output_dir: Path, file: NamedFile) -> Iterator[Path]:
    """The paths that a name may mean, the likeliest first."""
    for folder in dict.fromkeys((file.subfolder, file.subfolder.replace("\\", "/"))):
        yield Path(os.path.normpath(output_dir / folder / file.filename))
    if file.fullpath:
        yield Path(os.path.normpath(output_dir / file.fullpath))


def _on_disk(output_dir: Path, place: Path) -> list[str]:
    path = inside(output_dir, place)
    if path is None:
        return []
    try:
        if path.is_file():
            return [path.relative_to(output_dir).as_posix()]
        return sorted(_sequence(output_dir, path)) if _NUMBER.search(path.name) else []
    except (OSError, ValueError):  # a name that no file can have
        return []


def _sequence(output_dir: Path, pattern: Path) -> Iterator[str]:
    """The files of a sequence of frames: `x.%03d.png` stands for x.001.png, x.002.png …"""
    parts = _NUMBER.split(pattern.name)
    wanted = re.compile(r"\d+".join(map(re.escape, parts)))
    for number, name in enumerate(os.listdir(pattern.parent)):
        if number > _MOST_FRAMES:
            return
        if wanted.fullmatch(name):
            yield (pattern.parent / name).relative_to(output_dir).as_posix()


def outside_reason(outside: Mapping[str, str | None], prompt: Mapping[str, Any]) -> Wording:
    """Why files that were written elsewhere are no results, and which setting of the node brings them in. Where they
    lie is nobody's business here."""
    path, node_id = next(iter(outside.items()))
    node = prompt.get(node_id or "")
    kind = str(node.get("class_type")) if isinstance(node, Mapping) else ""
    setting = _setting(node, path)
    who, wer = (f"{kind} (node {node_id})", f"{kind}（节点 {node_id}）") if kind else ("a node", "某个节点")
    what, was = (f"its input {setting!r}", f"它的输入“{setting}”") if setting else ("its folder", "它的文件夹")
    return Wording(
        f"{who} wrote outside ComfyUI's output folder, where nothing is read → set {what} to a place inside the output "
        "folder, then render again",
        f"{wer} 写到了 ComfyUI 的输出文件夹之外，那里的文件不会读取 → 请把{was}设为输出文件夹之内，再重新生成",
    )


def _setting(node: Any, path: str) -> str | None:
    """The input whose text stands in the path."""
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    if not isinstance(inputs, Mapping):
        return None
    there = path.replace("\\", "/")
    found = [
        (len(text), str(name))
        for name, value in inputs.items()
        if isinstance(value, str) and len(text := value.replace("\\", "/").strip("/. ")) > 1 and text in there
    ]
    return max(found)[1] if found else None
