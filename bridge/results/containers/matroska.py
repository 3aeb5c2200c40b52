"""Matroska and WebM (RFC 9559, RFC 8794): elements, each with its length, some of them filled with elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text, is_read

_SEGMENT: Final = 0x18538067
_TAGS: Final = 0x1254C367
_TAG: Final = 0x7373
_SIMPLE_TAG: Final = 0x67C8
_NAME: Final = 0x45A3
_TEXT: Final = 0x4487
_BINARY: Final = 0x4485
#: Tags inside tags.
_DEEP: Final = 8


class _Element(NamedTuple):
    """One element, and where its content lies; `end` is None when its length is not known."""

    kind: int
    start: int
    end: int | None


def whole(reader: Reader) -> bool:
    """The length of the segment is written last of all; until then, and in a pipe for ever, it is unknown."""
    segment = _segment(reader)
    if segment.end is None:
        return False
    if segment.end > reader.size:
        raise BrokenFileError(CUT)
    end = segment.start
    for element in _elements(reader, segment.start, segment.end):
        if element.end is None:
            return False
        end = element.end
    return end == segment.end


def texts(reader: Reader) -> Iterator[Text]:
    """Names and values of the tags; ffmpeg writes the names in capitals."""
    segment = _segment(reader)
    end = min(segment.end or reader.size, reader.size)
    for element in _elements(reader, segment.start, end):
        if element.end is None:  # a cluster of a stream: nothing of use comes after it
            return
        if element.kind == _TAGS and element.end - element.start <= MOST_BYTES:
            yield from _tags(reader, element.start, element.end, _DEEP)


def _segment(reader: Reader) -> _Element:
    position = 0
    for _ in range(16):
        element = _element(reader, position)
        if element.kind == _SEGMENT:
            return element
        if element.end is None:
            break
        position = element.end
    raise BrokenFileError("it holds no film")


def _tags(reader: Reader, start: int, end: int, deep: int) -> Iterator[Text]:
    name = ""
    for element in _elements(reader, start, end):
        if element.end is None:
            return
        length = element.end - element.start
        if element.kind == _NAME:
            name = reader.at(element.start, min(length, 1024)).decode("utf-8", "replace")
        elif element.kind in (_TEXT, _BINARY) and is_read(name):
            yield name, reader.at(element.start, length)
        elif element.kind in (_TAG, _SIMPLE_TAG) and deep:
            yield from _tags(reader, element.start, element.end, deep - 1)


def _elements(reader: Reader, start: int, end: int) -> Iterator[_Element]:
    for _ in range(MOST_PARTS):
        if start >= end:
            return
        element = _element(reader, start)
        if element.end is not None and element.end > end:
            raise BrokenFileError(DAMAGED if end < reader.size else CUT)
        yield element
        if element.end is None:
            return
        start = element.end
    raise CannotTellError


def _element(reader: Reader, position: int) -> _Element:
    head = reader.up_to(position, 12)
    kind, used = _number(head, keep_mark=True)
    size, more = _number(head[used:])
    start = position + used + more
    return _Element(kind, start, None if size == (1 << 7 * more) - 1 else start + size)


def _number(data: bytes, *, keep_mark: bool = False) -> tuple[int, int]:
    """A number that says by its first bits how many bytes it takes, and that many."""
    if not data:
        raise BrokenFileError(CUT)
    length = 9 - data[0].bit_length()
    if length > 8:
        raise BrokenFileError(DAMAGED)
    if length > len(data):
        raise BrokenFileError(CUT)
    number = int.from_bytes(data[:length], "big")
    return (number if keep_mark else number & (1 << 7 * length) - 1), length
