"""AVIF and HEIC pictures (ISO/IEC 23008-12): the boxes of MP4, with a table of items instead of an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from . import mp4, tiff
from .mp4 import Box, boxes, inside
from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text

_FILMS: Final = frozenset({b"avis", b"msf1", b"hevc", b"hevx"})
#: Pieces of items in one file.
_MOST_PIECES: Final = 10_000


def whole(reader: Reader) -> bool:
    """Every piece of every item is there, and of a film the rest too."""
    pieces = [piece for _, piece in _pieces(reader, _meta(reader))]
    if not pieces:
        raise CannotTellError
    end = max(start + length for start, length in pieces)
    if end > reader.size:
        raise BrokenFileError(CUT)
    if reader.is_blank(end):
        return False
    return reader.at(8, 4) not in _FILMS or mp4.whole(reader)


def texts(reader: Reader) -> Iterator[Text]:
    """Exif and XMP, which are items beside the picture."""
    meta = _meta(reader)
    kinds = dict(_kinds(reader, meta))
    for item, (start, length) in _pieces(reader, meta):
        if length > MOST_BYTES:
            continue
        if kinds.get(item) == b"Exif":
            data = reader.at(start, length)
            yield from tiff.exif_texts(data[4 + int.from_bytes(data[:4], "big") :])
        elif kinds.get(item) == b"mime":
            yield None, reader.at(start, length)


def _meta(reader: Reader) -> Box:
    position = 0
    for _ in range(MOST_PARTS):
        box = next(boxes(reader, position, reader.size), None)
        if box is None:
            raise BrokenFileError("it was not closed: no table of items (meta)")
        if box.kind == b"meta":
            return Box(box.kind, box.start + 4, box.end)
        position = box.end
    raise CannotTellError


def _kinds(reader: Reader, meta: Box) -> Iterator[tuple[int, bytes]]:
    """Number and kind of each item."""
    table = inside(reader, meta, b"iinf")
    if table is None:
        return
    start = table.start + (6 if reader.number(table.start, 1) == 0 else 8)
    for entry in boxes(reader, start, table.end):
        version = reader.number(entry.start, 1)
        width = 2 if version == 2 else 4
        if entry.kind == b"infe" and version in (2, 3):
            yield reader.number(entry.start + 4, width), reader.at(entry.start + 6 + width, 4)


def _pieces(reader: Reader, meta: Box) -> Iterator[tuple[int, tuple[int, int]]]:
    """Number of the item, start and length of each piece that lies in the file itself."""
    table = inside(reader, meta, b"iloc")
    if table is None:
        raise CannotTellError
    version, sizes = reader.number(table.start, 1), reader.number(table.start + 4, 2)
    places, lengths, bases, numbers = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    data, wide = _Numbers(reader, table.start + 6, table.end), 4 if version == 2 else 2
    left = _MOST_PIECES
    for _ in range(data.next(wide)):
        item = data.next(wide)
        method = data.next(2) & 15 if version else 0
        data.next(2)  # the file that it lies in: this one
        base = data.next(bases)
        for _ in range(data.next(2)):
            if version:
                data.next(numbers)
            place, length = data.next(places), data.next(lengths)
            if (left := left - 1) < 0:
                raise CannotTellError
            if method == 0:
                yield item, (base + place, length)


class _Numbers:
    """Numbers one after the other."""

    def __init__(self, reader: Reader, position: int, end: int) -> None:
        self._reader, self._position, self._end = reader, position, end

    def next(self, width: int) -> int:
        if self._position + width > self._end:
            raise BrokenFileError(DAMAGED)
        number = self._reader.number(self._position, width)
        self._position += width
        return number
