"""OpenEXR pictures, as ComfyUI's SaveImageAdvanced writes them: one part, in lines."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text, is_read

MAGIC: Final = b"\x76\x2f\x31\x01"
#: Tiles, depth, several parts.
_OTHER_LAYOUTS: Final = 0x1A00
#: Lines that are packed together, by the number of the method.
_LINES: Final = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
#: A name, of which long ones have 255 bytes, its type, and four bytes.
_HEAD: Final = 600


def whole(reader: Reader) -> bool:
    """The table of all packed lines is filled, and the last of them is there."""
    if reader.number(4, 4, "little") & _OTHER_LAYOUTS:
        raise CannotTellError
    lines, packed, end = 0, 1, 8
    for name, start, length in _attributes(reader):
        end = start + length
        if name == "dataWindow" and length == 16:
            _, top, _, bottom = struct.unpack("<4i", reader.at(start, 16))
            lines = bottom - top + 1
        elif name == "compression" and length == 1:
            packed = _LINES.get(reader.at(start, 1)[0], 0)
    if packed == 0 or not 0 < lines <= MOST_PARTS:
        raise CannotTellError
    count = -(-lines // packed)
    table = struct.unpack(f"<{count}Q", reader.at(end + 1, 8 * count))
    if 0 in table:
        raise BrokenFileError("it was not closed: lines are missing")
    if max(table) + 8 > reader.size or max(table) + 8 + reader.number(max(table) + 4, 4, "little") > reader.size:
        raise BrokenFileError(CUT)
    return True


def texts(reader: Reader) -> Iterator[Text]:
    """The attributes, each with its name."""
    for name, start, length in _attributes(reader):
        if is_read(name) and length <= MOST_BYTES:
            yield name, reader.at(start, length)


def _attributes(reader: Reader) -> Iterator[tuple[str, int, int]]:
    """Name, start and length of each; a zero follows them."""
    position = 8
    for _ in range(MOST_PARTS):
        head = reader.up_to(position, _HEAD)
        name, _, rest = head.partition(b"\0")
        if head and not name:
            return
        kind = rest.partition(b"\0")[0]
        start = position + len(name) + len(kind) + 6
        if start > position + len(head):
            raise BrokenFileError(DAMAGED if len(head) == _HEAD else CUT)
        length = reader.number(start - 4, 4, "little")
        if start + length > reader.size:
            raise BrokenFileError(CUT)
        yield name.decode("utf-8", "replace"), start, length
        position = start + length
    raise CannotTellError
