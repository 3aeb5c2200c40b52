"""What is neither picture, film nor sound, and yet carries a tag: 3D models, latents, drawings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from .reading import CUT, DAMAGED, MOST_BYTES, BrokenFileError, CannotTellError, Reader, Text

#: Searched at either end of a file of which nothing is known.
_WINDOW: Final = 1024 * 1024


def whole_glb(reader: Reader) -> bool:
    """A 3D model: its length stands in front."""
    length = reader.number(8, 4, "little")
    if length > reader.size:
        raise BrokenFileError(CUT)
    return length >= 20


def glb_texts(reader: Reader) -> Iterator[Text]:
    """The JSON that describes the model, in which SaveGLB puts what others put into their metadata."""
    length = reader.number(12, 4, "little")
    if length <= MOST_BYTES:
        yield None, reader.at(20, length)


def whole_safetensors(reader: Reader) -> bool:
    """Latents: what stands in front says where each of them ends."""
    length = reader.number(0, 8, "little")
    if length > MOST_BYTES:
        raise CannotTellError
    try:
        head = json.loads(reader.at(8, length), parse_int=lambda digits: int(digits[:20]))
        ends = [_end(entry) for name, entry in head.items() if name != "__metadata__"]
    except (ValueError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, BrokenFileError) else BrokenFileError(DAMAGED) from None
    if ends and 8 + length + max(ends) > reader.size:
        raise BrokenFileError(CUT)
    return bool(ends)


def _end(entry: Any) -> int:
    offsets = entry.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
        raise BrokenFileError(DAMAGED)
    return int(offsets[1])


def safetensors_texts(reader: Reader) -> Iterator[Text]:
    """Its metadata, in the JSON in front."""
    length = reader.number(0, 8, "little")
    if length <= MOST_BYTES:
        yield None, reader.at(8, length)


def whole_svg(reader: Reader) -> bool:
    """A drawing ends with its closing tag, and those inside it have theirs."""
    if reader.size > MOST_BYTES:
        raise CannotTellError
    content = reader.at(0, reader.size)
    if b"</svg>" not in content:
        raise BrokenFileError(CUT)
    return content.rstrip().endswith(b"</svg>") and content.count(b"<svg") == content.count(b"</svg>")


def no_texts(_: Reader) -> Iterator[Text]:
    """None, of a format that has no place for them."""
    yield from ()


def any_texts(reader: Reader) -> Iterator[Text]:
    """Both ends of a file of which nothing is known."""
    yield None, reader.up_to(0, _WINDOW)
    if reader.size > _WINDOW:
        yield None, reader.up_to(max(reader.size - _WINDOW, _WINDOW), _WINDOW)
