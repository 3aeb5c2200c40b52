"""TIFF pictures (TIFF 6.0), and Exif, which is built in the same way."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text

#: Bytes of one value, by the number of its type.
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
#: Bytes, ASCII, anything, and UTF-8.
_TEXTS: Final = frozenset({1, 2, 7, 129})
_EXIF: Final = 0x8769
_USER_COMMENT: Final = 0x9286
#: Where the pixels stand and how long they are, in strips or in tiles.
_PIXELS: Final = ((273, 279), (324, 325))
#: Of one file; each page has some fifteen.
_MOST_ENTRIES: Final = 200_000


class _Entry(NamedTuple):
    """One value: its type, how many there are of it, and where."""

    kind: int
    number: int
    start: int

    @property
    def length(self) -> int:
        return self.number * _SIZES.get(self.kind, 1)


def whole(reader: Reader) -> bool:
    """All tables, values and pixels that the file speaks of are there."""
    order = _order(reader)
    strips = 0
    for table in _tables(reader, order):
        if any(entry.start + entry.length > reader.size for entry in table.values()):
            raise BrokenFileError(CUT)
        for places, lengths in _PIXELS:
            if places in table and lengths in table:
                strips += table[places].number
                if strips > MOST_PARTS:
                    raise CannotTellError
                _check_pixels(reader, order, table[places], table[lengths])
    if not strips:
        raise CannotTellError
    return True


def texts(reader: Reader) -> Iterator[Text]:
    """Values that may be text, also those of Exif."""
    order = _order(reader)
    for table in _tables(reader, order):
        yield from _values(reader, table)
        if _EXIF in table:
            place = reader.number(table[_EXIF].start, 4, order)
            for exif in _tables(reader, order, place, follow=False):
                yield from _values(reader, exif)


def exif_texts(data: bytes) -> Iterator[Text]:
    """Those of an Exif block; of one that cannot be read all of it."""
    data = data.removeprefix(b"Exif\0").lstrip(b"\0")
    try:
        yield from texts(Reader(io.BytesIO(data)))
    except ValueError:
        yield None, data


def _values(reader: Reader, table: dict[int, _Entry]) -> Iterator[Text]:
    for tag, entry in table.items():
        if entry.kind in _TEXTS and 8 < entry.length <= MOST_BYTES:
            value = reader.up_to(entry.start, entry.length)
            yield None, value[8:] if tag == _USER_COMMENT else value  # the code of its characters comes first


def _check_pixels(reader: Reader, order: str, places: _Entry, lengths: _Entry) -> None:
    if places.number != lengths.number:
        raise CannotTellError
    starts, sizes = _numbers(reader, order, places), _numbers(reader, order, lengths)
    if any(start + size > reader.size for start, size in zip(starts, sizes, strict=True)):
        raise BrokenFileError(CUT)
    if not sum(sizes):  # what a writer puts there that knows the lengths later
        raise BrokenFileError("it was not closed: no pixels")


def _numbers(reader: Reader, order: str, entry: _Entry) -> list[int]:
    size = _SIZES.get(entry.kind, 1)
    data = reader.at(entry.start, entry.length)
    return [
        int.from_bytes(data[at : at + size], "big" if order == "big" else "little") for at in range(0, len(data), size)
    ]


def _order(reader: Reader) -> str:
    head = reader.at(0, 4)
    if head == b"II*\0":
        return "little"
    if head == b"MM\0*":
        return "big"
    raise CannotTellError  # with 64-bit places, or none at all


def _tables(
    reader: Reader, order: str, position: int | None = None, *, follow: bool = True
) -> Iterator[dict[int, _Entry]]:
    """The entries of each directory by their tags."""
    position = reader.number(4, 4, order) if position is None else position
    if position == 0:
        raise BrokenFileError("it was not closed: no directory")
    seen: set[int] = set()
    left = _MOST_ENTRIES
    while position:
        if position in seen:
            raise BrokenFileError(DAMAGED)
        seen.add(position)
        count = reader.number(position, 2, order)
        if (left := left - count - 1) < 0:
            raise CannotTellError
        yield dict(_entries(reader, order, position + 2, count))
        position = reader.number(position + 2 + 12 * count, 4, order) if follow else 0


def _entries(reader: Reader, order: str, position: int, count: int) -> Iterator[tuple[int, _Entry]]:
    layout = struct.Struct("<HHII" if order == "little" else ">HHII")
    for index, (tag, kind, number, start) in enumerate(layout.iter_unpack(reader.at(position, 12 * count))):
        inline = number * _SIZES.get(kind, 1) <= 4
        yield tag, _Entry(kind, number, position + 12 * index + 8 if inline else start)
