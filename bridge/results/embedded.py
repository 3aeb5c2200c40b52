"""Whose a result file is: the tag in its metadata, wherever its format keeps them."""

from __future__ import annotations

import contextlib
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from .containers import exr, flac, gif, heif, jpeg, matroska, mp3, mp4_tags, ogg, others, png, riff, tiff
from .containers.reading import MOST_BYTES, Reader, Text
from .formats import HEAD_BYTES, name_of
from .tag_search import Tag, TagSearch

__all__ = ["Tag", "embedded_tag"]

_TEXTS: Final[Mapping[str, Callable[[Reader], Iterator[Text]]]] = {
    "png": png.texts,
    "jpeg": jpeg.texts,
    "gif": gif.texts,
    "bmp": others.no_texts,
    "tiff": tiff.texts,
    **dict.fromkeys(("avif", "heic"), heif.texts),
    **dict.fromkeys(("webp", "wav", "avi"), riff.texts),
    **dict.fromkeys(("mp4", "mov", "m4v", "m4a"), mp4_tags.texts),
    **dict.fromkeys(("webm", "mkv"), matroska.texts),
    "flac": flac.texts,
    "mp3": mp3.texts,
    **dict.fromkeys(("ogg", "opus", "ogv"), ogg.texts),
    "exr": exr.texts,
    "glb": others.glb_texts,
    "safetensors": others.safetensors_texts,
}


def embedded_tag(path: Path) -> Tag | None:
    """The tag that the file carries, or None: it has none, or several and nobody can tell which is its own."""
    search = TagSearch()
    # of one that is still being written, or broken, what was found so far
    with contextlib.suppress(OSError, ValueError, struct.error, IndexError, OverflowError):
        _look(path, search)
    return search.result()


def _look(path: Path, search: TagSearch) -> None:
    if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe waits for who writes into it
        return
    with path.open("rb") as file:
        reader = Reader(file)
        texts = _TEXTS.get(name_of(reader.up_to(0, HEAD_BYTES)) or "", others.any_texts)
        left = MOST_BYTES
        for key, data in texts(reader):
            search.look(key, data)
            left -= len(data)
            if left < 0:
                return
