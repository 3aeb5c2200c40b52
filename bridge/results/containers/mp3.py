"""MP3 sound, and ID3 tags (id3v2.3.0, id3v2.4.0), which other formats carry too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .reading import CUT, MOST_BYTES, MOST_PARTS, BrokenFileError, Reader, Text, is_read

#: kbit/s of MPEG 1, and of MPEG 2 and 2.5.
_RATES: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_SAMPLES: Final = (44100, 48000, 32000)
_CODES: Final = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
_FRAMES: Final = 1
_BYTES: Final = 2


def frame_length(head: bytes) -> int | None:
    """Of the frame that begins with these four bytes; None when none does, or it does not say."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # layer III only
        return None
    version, rate, samples = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate in (0, 15) or samples == 3:
        return None
    hertz = _SAMPLES[samples] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if version == 3 else 72) * _RATES[version != 3][rate] * 1000 // hertz + (head[2] >> 1 & 1)


def id3_length(head: bytes) -> int:
    """Of the ID3 tag that begins with these ten bytes; 0 when none does."""
    if len(head) < 10 or head[:3] != b"ID3" or head[3] not in (2, 3, 4) or max(head[6:10]) > 0x7F:
        return 0
    return 10 + _seven_bits(head[6:10]) + (10 if head[5] & 0x10 else 0)


def whole(reader: Reader) -> bool:
    """An encoder that closes the file writes into the first frame how many bytes there are; others leave it open."""
    start = id3_length(reader.up_to(0, 10))
    head = reader.up_to(start, 4)
    if start + (frame_length(head) or 4) > reader.size:
        raise BrokenFileError(CUT)
    if frame_length(head) is None:
        return False
    stereo = head[3] >> 6 != 3
    side = (32 if stereo else 17) if head[1] >> 3 & 3 == 3 else (17 if stereo else 9)
    info = reader.up_to(start + 4 + side, 16)
    if info[:4] not in (b"Xing", b"Info") or not info[7] & _BYTES:
        return False
    place = start + 4 + side + (12 if info[7] & _FRAMES else 8)
    length = reader.number(place, 4)
    if start + length > reader.size:
        raise BrokenFileError(CUT)
    return length > 0 and not reader.is_blank(start + length)


def texts(reader: Reader) -> Iterator[Text]:
    """Those of the tag at the front."""
    return id3_texts(reader, 0)


def id3_texts(reader: Reader, start: int) -> Iterator[Text]:
    """User texts under their own names, the rest without one."""
    head = reader.up_to(start, 10)
    length = id3_length(head)
    if not length or length > MOST_BYTES:
        return
    version, data = head[3], reader.up_to(start + 10, length - 10)
    if head[5] & 0x80 and version < 4:
        data = data.replace(b"\xff\0", b"\xff")
    position = 0
    if head[5] & 0x40 and version > 2:  # an extended header
        position = _seven_bits(data[:4]) if version == 4 else 4 + int.from_bytes(data[:4], "big")
    name, rest = (3, 6) if version == 2 else (4, 10)
    for _ in range(MOST_PARTS):
        frame = data[position : position + rest]
        if len(frame) < rest or not re.fullmatch(rb"[A-Z0-9]+ ?", frame[:name]):
            return  # what fills up the tag
        size = _size(data, position, version)
        yield from _frame_texts(frame[:name], data[position + rest : position + rest + size])
        position += rest + size


def _size(data: bytes, position: int, version: int) -> int:
    if version == 2:
        return int.from_bytes(data[position + 3 : position + 6], "big")
    plain = int.from_bytes(data[position + 4 : position + 8], "big")
    if version == 3 or max(data[position + 4 : position + 8]) > 0x7F:
        return plain
    return _seven_bits(data[position + 4 : position + 8])


def _frame_texts(kind: bytes, data: bytes) -> Iterator[Text]:
    if kind[:1] != b"T" and kind not in (b"COMM", b"COM", b"PRIV", b"GEOB", b"USLT"):
        return
    text = data[1:].decode(_CODES.get(data[0] if data else 0, "latin-1"), "replace")
    if kind in (b"TXXX", b"TXX"):
        key, _, value = text.partition("\0")
        if is_read(key):
            yield key, value.removeprefix("\ufeff").encode("utf-8", "replace")
    else:
        yield None, text.encode("utf-8", "replace")


def _seven_bits(data: bytes) -> int:
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
    return number
