"""GIF pictures (GIF89a specification)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text

_IMAGE: Final = 0x2C
_EXTENSION: Final = 0x21
_END: Final = 0x3B
_COMMENT: Final = 0xFE
_APPLICATION: Final = 0xFF
#: Of at most 255 bytes each.
_MOST_PIECES: Final = 4_000_000


def whole(reader: Reader) -> bool:
    """Block after block to the trailer."""
    for _ in _blocks(reader):
        pass
    return True


def texts(reader: Reader) -> Iterator[Text]:
    """Comments, and what programs add under their own names."""
    for label, start, end in _blocks(reader):
        if label in (_COMMENT, _APPLICATION) and end - start <= MOST_BYTES:
            yield None, _joined(reader.at(start, end - start))


def _blocks(reader: Reader) -> Iterator[tuple[int, int, int]]:
    """Label (0 for a picture) of each block, and where its pieces begin and end, up to the trailer."""
    position = 13 + _colours(reader.at(10, 1)[0])
    pieces = _MOST_PIECES
    for _ in range(MOST_PARTS):
        kind = reader.at(position, 1)[0]
        if kind == _END:
            return
        label = 0
        if kind == _EXTENSION:
            label = reader.at(position + 1, 1)[0]
            position += 2
        elif kind == _IMAGE:
            position += 11 + _colours(reader.at(position + 9, 1)[0])
        else:
            raise BrokenFileError(DAMAGED)
        end, pieces = _after(reader, position, pieces)
        yield label, position, end
        position = end
    raise CannotTellError


def _colours(flags: int) -> int:
    """Bytes of the table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after(reader: Reader, position: int, left: int) -> tuple[int, int]:
    """Where the pieces of a block end, and how many may still be looked at."""
    index = 0
    for data in reader.onward(position):
        while index < len(data):
            left -= 1
            length = data[index]
            index += length + 1
            if length == 0:
                return position + index, left
        if left <= 0:
            raise CannotTellError
        position, index = position + len(data), index - len(data)
    raise BrokenFileError(CUT)


def _joined(data: bytes) -> bytes:
    """The pieces without their lengths."""
    pieces, index = [], 0
    while index < len(data):
        pieces.append(data[index + 1 : index + 1 + data[index]])
        index += data[index] + 1
    return b"".join(pieces)
