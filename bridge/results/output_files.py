"""Result files: is one whole, whose is it, and are these all that a prompt makes?

Read with the standard library only: `main.py` runs where neither Pillow nor PyAV is. A file counts as whole when its
container is closed properly, which a writer that died has not done.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from ..table.files import FOLDER_NAME

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mov", ".m4v"})
#: A file may carry an older date than its task when the clock was set back meanwhile.
_CLOCK_TOLERANCE: Final = 24 * 3600.0


class BrokenFileError(ValueError):
    """The file is not whole; the message says how."""


# ------------------------------------------------------------------ whole or not


def why_not_whole(path: Path) -> str | None:
    """None when the file is there and complete, else the reason in words."""
    try:
        if path.stat().st_size == 0:
            return "it is empty"
        with path.open("rb") as file:
            _CHECKS.get(path.suffix.lower(), _any_bytes)(file)
    except FileNotFoundError:
        return "it is not there"
    except (BrokenFileError, OSError, struct.error) as error:
        return str(error)
    return None


def _check_png(file: BinaryIO) -> None:
    last = b""
    for kind, data, crc in _png_chunks(file):
        if zlib.crc32(data, zlib.crc32(kind)) != crc:
            raise BrokenFileError(f"its {kind.decode('latin-1')} part is damaged")
        last = kind
    if last != b"IEND":
        raise BrokenFileError("it ends in the middle")


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes, int]]:
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(8) != _PNG:
        raise BrokenFileError("it is not a PNG picture")
    while header := file.read(8):
        if len(header) < 8:
            raise BrokenFileError("it ends in the middle")
        length, kind = struct.unpack(">I4s", header)
        if length > end:  # reading sets that much memory aside first
            raise BrokenFileError("it ends in the middle")
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise BrokenFileError("it ends in the middle")
        yield kind, body[:length], struct.unpack(">I", body[length:])[0]
        if kind == b"IEND":
            return


def _check_mp4(file: BinaryIO) -> None:
    kinds = {kind for kind, _, _ in _boxes(file, 0, file.seek(0, os.SEEK_END))}
    if not {b"moov", b"mdat"} <= kinds:
        raise BrokenFileError("it was not closed: no index (moov) or no data (mdat)")


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each MP4 box in the range (ISO/IEC 14496-12, 4.2)."""
    while start < end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", _exactly(file, 8))
        content = start + 8
        if size == 1:
            size, content = struct.unpack(">Q", _exactly(file, 8))[0], start + 16
        elif size == 0:
            size = end - start
        if size < content - start or start + size > end:
            raise BrokenFileError("it ends in the middle")
        yield kind, content, start + size
        start += size


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise BrokenFileError("it ends in the middle")
    return data


def _check_ends(start: bytes, end: bytes) -> Callable[[BinaryIO], None]:
    def check(file: BinaryIO) -> None:
        head = file.read(len(start))
        file.seek(-len(end), os.SEEK_END)
        if head != start or file.read() != end:
            raise BrokenFileError("it ends in the middle")

    return check


def _check_riff(file: BinaryIO) -> None:
    kind, size = struct.unpack("<4sI", _exactly(file, 8))
    if kind != b"RIFF" or file.seek(0, os.SEEK_END) < size + 8:
        raise BrokenFileError("it ends in the middle")


def _any_bytes(file: BinaryIO) -> None:
    """Nothing is known of this format: what is not empty is taken."""
    _exactly(file, 1)


_CHECKS: Final[Mapping[str, Callable[[BinaryIO], None]]] = {
    ".png": _check_png,
    **dict.fromkeys(_VIDEO_SUFFIXES, _check_mp4),
    ".jpg": _check_ends(b"\xff\xd8", b"\xff\xd9"),
    ".jpeg": _check_ends(b"\xff\xd8", b"\xff\xd9"),
    ".gif": _check_ends(b"GIF8", b"\x3b"),
    ".webp": _check_riff,
    ".wav": _check_riff,
}


# ------------------------------------------------------------------ whose it is


def embedded_task(path: Path) -> tuple[str, str] | None:
    """(task_id, prompt_id) from the file's own metadata, or None.

    SaveImage writes each key of `extra_pnginfo` as a PNG text chunk, SaveVideo as an MP4 tag.
    """
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".png":
                text = _png_text(file, b"wfrecovery")
            elif path.suffix.lower() in _VIDEO_SUFFIXES:
                text = _mp4_tag(file, b"wfrecovery")
            else:
                return None
        tag = json.loads(text) if text else None
        return (str(tag["task_id"]), str(tag["prompt_id"])) if tag else None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None  # not ours, or still being written


def _png_text(file: BinaryIO, key: bytes) -> bytes | None:
    for kind, data, _ in _png_chunks(file):
        if kind == b"tEXt" and data.startswith(key + b"\0"):
            return data[len(key) + 1 :]
        if kind == b"iTXt" and data.startswith(key + b"\0\0"):  # uncompressed; language and translated key follow
            return data[len(key) + 3 :].split(b"\0", 2)[-1]
        if kind == b"IDAT":  # texts stand before the picture
            return None
    return None


def _mp4_tag(file: BinaryIO, key: bytes) -> bytes | None:
    """A tag as ffmpeg's `use_metadata_tags` writes it: names in `keys`, values in `ilst`, in the same order."""
    size = file.seek(0, os.SEEK_END)
    for keys, values in _tag_tables(file, 0, size, (b"moov", b"udta", b"meta")):
        names = _mp4_key_names(file, *keys)
        for kind, start, end in _boxes(file, *values):
            index = int.from_bytes(kind, "big")
            if 1 <= index <= len(names) and names[index - 1] == key:
                for inner, data_start, data_end in _boxes(file, start, end):
                    if inner == b"data":
                        file.seek(data_start + 8)  # type and locale
                        return file.read(data_end - data_start - 8)
    return None


def _tag_tables(
    file: BinaryIO, start: int, end: int, path: Sequence[bytes]
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    found = {kind: (first, last) for kind, first, last in _boxes(file, start, end)}
    if b"keys" in found and b"ilst" in found:
        yield found[b"keys"], found[b"ilst"]
    for kind in path:
        if kind in found:
            first, last = found[kind]
            if kind == b"meta":
                file.seek(first + 4)  # in MP4 `meta` begins with version and flags, in QuickTime with its first box
                first += 0 if file.read(4) == b"hdlr" else 4
            yield from _tag_tables(file, first, last, path)


def _mp4_key_names(file: BinaryIO, start: int, end: int) -> list[bytes]:
    names, position = [], start + 8  # version, flags, count
    while position < end:
        file.seek(position)
        size = struct.unpack(">I4s", _exactly(file, 8))[0]
        if size < 8:
            raise BrokenFileError("its table of tags is damaged")
        names.append(file.read(size - 8))
        position += size
    return names


def find_results(output_dir: Path, prompts: Mapping[str, str], since: float) -> dict[str, list[str]]:
    """The whole files under `output_dir` that carry one of the wanted task ids and its prompt_id.

    `prompts` maps task_id to prompt_id, `since` is the time (seconds) when the oldest was entered. Returns paths
    relative to the folder, in the order of their names, for the tasks that have any.
    """
    found: dict[str, list[str]] = {}
    for path in _recent_files(output_dir, since - _CLOCK_TOLERANCE) if prompts else ():
        tag = embedded_task(path)
        if tag and prompts.get(tag[0]) == tag[1] and why_not_whole(path) is None:
            found.setdefault(tag[0], []).append(path.relative_to(output_dir).as_posix())
    return {task_id: sorted(files) for task_id, files in found.items()}


def _recent_files(folder: Path, since: float) -> Iterator[Path]:
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link in a circle
            folders.clear()
            continue
        seen.add(real)
        if Path(parent) == folder and FOLDER_NAME in folders:
            folders.remove(FOLDER_NAME)
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() in {".png", *_VIDEO_SUFFIXES}:
                try:
                    if path.stat().st_mtime >= since:
                        yield path
                except OSError:
                    continue  # removed meanwhile


# ------------------------------------------------------------------ all that the prompt makes, or only a part

_SAVER: Final = re.compile(r"save|export|videocombine|write", re.IGNORECASE)
_ONE_FILE: Final = frozenset({"SaveVideo", "SaveWEBM", "SaveAnimatedPNG", "SaveAnimatedWEBP"})
_SOME_FILES: Final = re.compile(r"videocombine", re.IGNORECASE)
#: Node classes that may hand on several pictures for one.
_MANY: Final = re.compile(
    r"video|frame|batch|list|folder|director|grid|split|tile|loop|sequence|gif|images$|(?-i:[Ii]mages[A-Z_]|IMAGES_)|multi|repeat|foreach",
    re.IGNORECASE,
)
_MANY_INPUT: Final = re.compile(
    r"(batch(_?(size|count))?|amount|n|num(ber)?(_of)?_?(images?|frames?|outputs?|samples?)|(image|frame|video)_?count|count"
    r"|images?_per_\w+|frames?|length|frame_load_cap|repeats?|copies)",
    re.IGNORECASE,
)


def whole_result(
    graph: Mapping[str, Any], files: Sequence[str], evidence: Mapping[str, Sequence[str]], *, attempts: int = 1
) -> list[str] | None:
    """All result files of a prompt that was cut off, or None when they are not all there, or nobody can tell.

    `graph` is the graph file, `files` what was found on disk, `evidence` what ComfyUI had reported of single nodes
    before it died: node id → its files. A node that nobody heard of is judged by the graph: it must be certain how
    many files the node makes, else the prompt is rendered again. After several `attempts`, several files can be the
    first ones of each.
    """
    prompt = graph["prompt"]
    result: list[str] = []
    savers = _savers(prompt, graph.get("outputs_to_execute") or prompt)
    reported = {name for node_id in savers for name in evidence.get(node_id, ())}
    for node_id in savers:
        made = evidence.get(node_id)
        if made is None:
            free = [name for name in files if name not in reported and name not in result]
            made = [name for name in free if len(savers) == 1 or _has_prefix(name, prompt[node_id])]
            if not made or len(made) != expected_files(prompt, node_id) or (len(made) > 1 and attempts > 1):
                return None
        elif not set(made) <= set(files):
            return None
        result += [name for name in made if name not in result]
    return result or None


def _savers(prompt: Mapping[str, Any], outputs: Iterable[str]) -> list[str]:
    there = [node_id for node_id in outputs if isinstance(prompt.get(node_id), Mapping)]
    savers = [node_id for node_id in there if _is_saver(prompt[node_id])]
    return savers or there


def _is_saver(node: Mapping[str, Any]) -> bool:
    return "filename_prefix" in node.get("inputs", {}) or bool(_SAVER.search(str(node.get("class_type"))))


def _has_prefix(name: str, node: Mapping[str, Any]) -> bool:
    prefix = str(node.get("inputs", {}).get("filename_prefix", "")).replace("\\", "/")
    return re.fullmatch(re.escape(prefix) + r"_\d+_?\.\w+", name) is not None


def expected_files(prompt: Mapping[str, Any], node_id: str) -> int | None:
    """How many files the node writes, or None when that cannot be told from the graph."""
    kind = str(prompt[node_id].get("class_type"))
    if kind in _ONE_FILE:
        return 1
    if _SOME_FILES.search(kind):
        return None
    sizes = set()
    for upstream in _upstream(prompt, node_id):
        size = _pictures(upstream)
        if size is None:
            return None
        sizes.add(size)
    sizes.discard(1)
    return None if len(sizes) > 1 else (sizes.pop() if sizes else 1)


def _upstream(prompt: Mapping[str, Any], node_id: str) -> Iterator[Mapping[str, Any]]:
    seen, waiting = {node_id}, [node_id]
    while waiting:
        for value in prompt.get(waiting.pop(), {}).get("inputs", {}).values():
            if _is_link(value) and value[0] not in seen and isinstance(prompt.get(value[0]), Mapping):
                seen.add(value[0])
                waiting.append(value[0])
                yield prompt[value[0]]


def _pictures(node: Mapping[str, Any]) -> int | None:
    """How many pictures the node may make of one; None when unknown."""
    kind, inputs = str(node.get("class_type")), node.get("inputs", {})
    if _MANY.search(kind):
        return None
    size = 1
    for name, value in inputs.items():
        if not _MANY_INPUT.fullmatch(name) or value in (0, 1):
            continue
        if name != "batch_size" or not kind.startswith("Empty") or type(value) is not int:
            return None
        size = value
    return size


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
