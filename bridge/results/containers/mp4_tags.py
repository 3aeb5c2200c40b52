"""The named texts of MP4 and MOV, in the several ways in which they are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .mp4 import Box, boxes, outer_boxes
from .reading import DAMAGED, MOST_BYTES, BrokenFileError, Reader, Text, is_read

_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
#: The file, a track of it, and what belongs to either.
_DEEP: Final = 4
_NAMES: Final = {b"\xa9cmt": "comment"}


def texts(reader: Reader) -> Iterator[Text]:
    """Those of the film and of its tracks, and XMP."""
    for box in outer_boxes(reader):
        if box.kind == b"uuid":
            if reader.up_to(box.start, 16) == _XMP and box.end - box.start <= MOST_BYTES:
                yield None, reader.at(box.start + 16, box.end - box.start - 16)
        elif box.kind in (b"moov", b"udta", b"meta"):
            yield from _held(reader, box, _DEEP)


def _held(reader: Reader, box: Box, deep: int) -> Iterator[Text]:
    if box.kind == b"meta":
        yield from _meta(reader, box)
    elif box.kind[:1] == b"\xa9":
        yield from _quicktime(reader, box)
    elif box.kind in (b"moov", b"trak", b"udta") and deep:
        for inner in boxes(reader, box.start, box.end):
            yield from _held(reader, inner, deep - 1)


def _quicktime(reader: Reader, box: Box) -> Iterator[Text]:
    """A length and a language before each text."""
    position = box.start
    while position + 4 <= box.end:
        length = reader.number(position, 2)
        yield _name(box.kind), reader.at(position + 4, min(length, box.end - position - 4))
        position += 4 + length


def _meta(reader: Reader, box: Box) -> Iterator[Text]:
    """Values in `ilst`: under a kind of four letters, a name of their own, or the number of a name in `keys`."""
    start = box.start
    if reader.up_to(start + 4, 4) != b"hdlr":  # in MP4 it begins with version and flags, in QuickTime with a box
        start += 4
    found = {inner.kind: inner for inner in boxes(reader, start, box.end)}
    names = list(_keys(reader, found[b"keys"])) if b"keys" in found else []
    values = found.get(b"ilst")
    for item in boxes(reader, values.start, values.end) if values else ():
        number = int.from_bytes(item.kind, "big")
        name = names[number - 1] if 1 <= number <= len(names) else _name(item.kind)
        for inner in boxes(reader, item.start, item.end):
            if inner.kind == b"name":
                name = reader.up_to(inner.start + 4, min(inner.end - inner.start - 4, 1024)).decode("utf-8", "replace")
            elif inner.kind == b"data" and is_read(name) and inner.end - inner.start <= MOST_BYTES:
                yield name, reader.at(inner.start + 8, max(inner.end - inner.start - 8, 0))  # after type and language


def _keys(reader: Reader, box: Box) -> Iterator[str]:
    position = box.start + 8  # version, flags, count
    while position + 8 <= box.end:
        size = reader.number(position, 4)
        if not 8 <= size <= box.end - position:
            raise BrokenFileError(DAMAGED)
        yield reader.at(position + 8, size - 8).decode("utf-8", "replace")
        position += size


def _name(kind: bytes) -> str:
    return _NAMES.get(kind, kind.decode("latin-1"))
