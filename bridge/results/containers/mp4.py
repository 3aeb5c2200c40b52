"""MP4, MOV and M4A (ISO/IEC 14496-12): boxes, each with its length, some of them filled with boxes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from .reading import CUT, DAMAGED, MOST_PARTS, BrokenFileError, CannotTellError, Reader

#: What may stand outermost. Anything else after the index and the data was appended by somebody.
_OUTER: Final = frozenset(
    b"ftyp styp moov moof mdat mfra free skip wide pnot sidx ssix udta meta uuid pdin prft emsg jumb".split()
)
_NOT_CLOSED: Final = "it was not closed: no index (moov) or no data (mdat)"


class Box(NamedTuple):
    """One box, and where its content lies."""

    kind: bytes
    start: int
    end: int
    #: It has no length and goes to the end of the file.
    endless: bool = False


def whole(reader: Reader) -> bool:
    """Index and data are there, and as long as they say.

    A writer puts the length of the data and the index into the file last of all. One that writes fragments closes the
    file with an index of them.
    """
    found = {box.kind: box for box in outer_boxes(reader)}
    index, data = found.get(b"moov"), found.get(b"mdat")
    if index is None or data is None or index.endless:
        raise BrokenFileError(_NOT_CLOSED)
    if b"moof" in found or any(box.kind == b"mvex" for box in boxes(reader, index.start, index.end)):
        return b"mfra" in found and found[b"mfra"].end > data.end
    needed = _needed(reader, index)
    if needed > reader.size:
        raise BrokenFileError(CUT)
    return (needed > data.start or not data.endless) and not (needed and reader.is_blank(needed))


def outer_boxes(reader: Reader) -> Iterator[Box]:
    """The outermost boxes, without what is appended after a complete film."""
    position = 0
    kinds: set[bytes] = set()
    for _ in range(MOST_PARTS):
        if position >= reader.size:
            return
        done = {b"moov", b"mdat"} <= kinds
        try:
            box = _box(reader, position, reader.size)
        except BrokenFileError:
            if done and reader.up_to(position + 4, 4) not in _OUTER:
                return
            raise
        if done and box.kind not in _OUTER:
            return
        yield box
        kinds.add(box.kind)
        position = box.end
    raise CannotTellError


def boxes(reader: Reader, start: int, end: int) -> Iterator[Box]:
    """The boxes that fill this range."""
    for _ in range(MOST_PARTS):
        if start + 8 > end:  # QuickTime may end a list with four zeros
            return
        box = _box(reader, start, end)
        yield box
        start = box.end
    raise CannotTellError


def inside(reader: Reader, box: Box, *path: bytes) -> Box | None:
    """The box that lies inside along these kinds."""
    for kind in path:
        found = next((inner for inner in boxes(reader, box.start, box.end) if inner.kind == kind), None)
        if found is None:
            return None
        box = found
    return box


def _box(reader: Reader, start: int, end: int) -> Box:
    size, kind = struct.unpack(">I4s", reader.at(start, 8))
    content, endless = start + 8, size == 0
    if size == 1:
        size, content = reader.number(content, 8), start + 16
    elif endless:
        size = end - start
    if size < content - start:
        raise BrokenFileError(DAMAGED)
    if start + size > end:
        raise BrokenFileError(CUT)
    return Box(kind, content, start + size, endless)


def _needed(reader: Reader, index: Box) -> int:
    """Where the last piece of each track ends, as far as the index says."""
    tables = (
        inside(reader, track, b"mdia", b"minf", b"stbl")
        for track in boxes(reader, index.start, index.end)
        if track.kind == b"trak"
    )
    return max((_last_piece(reader, table) for table in tables if table is not None), default=0)


def _last_piece(reader: Reader, table: Box) -> int:
    """The place of the last chunk, and the sizes of the samples in it."""
    found = {box.kind: box for box in boxes(reader, table.start, table.end)}
    wide = b"co64" in found
    places, runs, sizes = found.get(b"co64" if wide else b"stco"), found.get(b"stsc"), found.get(b"stsz")
    if places is None or runs is None or sizes is None:
        return 0
    place = _last(reader, places, 8 if wide else 4)
    samples = _last(reader, runs, 12) >> 32 & 0xFFFFFFFF
    same, count = reader.number(sizes.start + 4, 4), reader.number(sizes.start + 8, 4)
    if same or not place:
        return place + same * samples
    end, number = sizes.start + 12 + 4 * count, min(samples, count, MOST_PARTS)
    if end > sizes.end:
        raise BrokenFileError(DAMAGED)
    lengths: tuple[int, ...] = struct.unpack(f">{number}I", reader.at(end - 4 * number, 4 * number))
    return place + sum(lengths)


def _last(reader: Reader, table: Box, width: int) -> int:
    """The last entry of a table."""
    end = table.start + 8 + width * reader.number(table.start + 4, 4)
    if end > table.end:
        raise BrokenFileError(DAMAGED)
    return reader.number(end - width, width) if end > table.start + 8 else 0
