"""BMP pictures."""

from __future__ import annotations

from .reading import CUT, BrokenFileError, Reader


def whole(reader: Reader) -> bool:
    """As long as its header says, and as its pixels take; a header without a size leaves it open."""
    size, pixels = reader.number(2, 4, "little"), reader.number(10, 4, "little")
    if max(size, pixels + _length(reader)) > reader.size:
        raise BrokenFileError(CUT)
    return size > pixels


def _length(reader: Reader) -> int:
    """Of the pixels, where they are not packed."""
    if reader.number(14, 4, "little") < 40 or reader.number(30, 4, "little") != 0:
        return 0
    width, height = (int.from_bytes(reader.at(place, 4), "little", signed=True) for place in (18, 22))
    return (abs(width) * reader.number(28, 2, "little") + 31) // 32 * 4 * abs(height)
