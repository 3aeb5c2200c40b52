"""JPEG pictures (ITU-T T.81), with the segments that Exif and XMP define for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from . import tiff
from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text

_APP1: Final = 0xE1
_APP13: Final = 0xED
_COMMENT: Final = 0xFE
_SCAN: Final = 0xDA
_END: Final = 0xD9
#: Between the pixels 0xFF is followed by 0, by the number of a restart, or by another 0xFF.
_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF: Final = b"Exif\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
#: The rest of a long XMP packet: 32 digits of its sum, its length, and where this piece belongs.
_MORE_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"


def whole(reader: Reader) -> bool:
    """Segment after segment and scan after scan to the end marker; a thumbnail inside a segment has its own."""
    kinds = {marker for marker, _, _ in _segments(reader)}
    if _SCAN not in kinds or not kinds & _FRAMES:
        raise BrokenFileError("it holds no picture")
    return True


def texts(reader: Reader) -> Iterator[Text]:
    """Exif, XMP, comments and what Photoshop writes."""
    more: list[tuple[int, bytes]] = []
    comments: list[bytes] = []
    total = 0
    for marker, start, length in _segments(reader):
        if marker not in (_APP1, _APP13, _COMMENT):
            continue
        if (total := total + length) > MOST_BYTES:
            break
        data = reader.at(start, length)
        if marker == _COMMENT:
            comments.append(data)
        elif data.startswith(_EXIF):
            yield from tiff.exif_texts(data)
        elif data.startswith(_MORE_XMP):
            head = len(_MORE_XMP) + 40
            more.append((int.from_bytes(data[head - 4 : head], "big"), data[head:]))
        else:
            yield None, data.removeprefix(_XMP)
    yield None, b"".join(data for _, data in sorted(more))
    yield None, b"".join(comments)  # a long text goes into several


def _segments(reader: Reader) -> Iterator[tuple[int, int, int]]:
    """Marker, start and length of each segment, up to the end of the picture."""
    position = 2
    for _ in range(MOST_PARTS):
        lead, marker = reader.at(position, 2)
        if lead != 0xFF:
            raise BrokenFileError(DAMAGED)
        if marker == 0xFF:  # may be repeated
            position += 1
            continue
        if marker == _END:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            position += 2
            continue
        length = reader.number(position + 2, 2)
        if length < 2:
            raise BrokenFileError(DAMAGED)
        if position + 2 + length > reader.size:
            raise BrokenFileError(CUT)
        yield marker, position + 4, length - 2
        position += 2 + length
        if marker == _SCAN:
            position = _after_pixels(reader, position)
    raise CannotTellError


def _after_pixels(reader: Reader, position: int) -> int:
    before = b""
    for piece in reader.onward(position):
        data = before + piece
        if match := _MARKER.search(data):
            return position + match.start()
        before = data[-1:]  # a marker may stand across two pieces
        position += len(data) - 1
    raise BrokenFileError(CUT)
