"""FLAC sound (RFC 9639)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from . import mp3, vorbis
from .reading import CUT, MOST_BYTES, BrokenFileError, Reader, Text

_COMMENTS: Final = 4
_MOST_BLOCKS: Final = 10_000
#: Searched for the last frame, besides the longest frame that the file speaks of.
_TAIL: Final = 64 * 1024
#: Of two channels with 32 bits and the largest blocks, doubled.
_MOST_FRAME: Final = 1024 * 1024
#: Places that look like the last frame.
_MOST_TRIES: Final = 8


def whole(reader: Reader) -> bool:
    """The last frame ends the file, is undamaged, and holds the last of the samples that the header counts.

    An encoder that died has counted none. One that closed may still have been cut off while it was copied.
    """
    start, sound, info = _layout(reader)
    total = int.from_bytes(info[13:18], "big") & 0xFFFFFFFFF
    longest = int.from_bytes(info[7:10], "big")
    if not start or not total or not longest or longest > _MOST_FRAME:
        return False
    first = max(sound, reader.size - longest - _TAIL)
    data = reader.at(first, reader.size - first)
    fixed = int.from_bytes(info[0:2], "big") if info[0:2] == info[2:4] else 0
    place, tries = data.rfind(b"\xff"), 0
    while place >= 0 and tries < _MOST_TRIES:
        if _last_sample(data[place : place + 16], fixed) == total:
            tries += 1
            if any(_crc16(data[place:end]) == 0 for end in _ends(data)):
                return True
        place = data.rfind(b"\xff", 0, place)
    if not tries:
        raise BrokenFileError(CUT)
    return False


def texts(reader: Reader) -> Iterator[Text]:
    """The named texts."""
    for kind, start, length in _blocks(reader):
        if kind == _COMMENTS and length <= MOST_BYTES:
            yield from vorbis.comments(reader.at(start, length))


def _layout(reader: Reader) -> tuple[int, int, bytes]:
    """Where the stream and where the sound begins, and the 34 bytes that describe it."""
    start, sound, info = 0, 0, bytes(34)
    for index, (_, at, length) in enumerate(_blocks(reader)):
        if index == 0:
            start, info = at, reader.at(at, 34)
        sound = at + length
    return start, sound, info


def _blocks(reader: Reader) -> Iterator[tuple[int, int, int]]:
    position = mp3.id3_length(reader.up_to(0, 10)) + 4
    for _ in range(_MOST_BLOCKS):
        head = reader.at(position, 4)
        length = int.from_bytes(head[1:4], "big")
        if position + 4 + length > reader.size:
            raise BrokenFileError(CUT)
        yield head[0] & 0x7F, position + 4, length
        position += 4 + length
        if head[0] & 0x80:
            return


def _ends(data: bytes) -> Iterator[int]:
    """Where the last frame may end: with the file, or before what some programs add."""
    yield len(data)
    if data.endswith(b"\n"):
        yield len(data) - 1
    if data[-128:-125] == b"TAG":
        yield len(data) - 128


def _last_sample(head: bytes, fixed: int) -> int | None:
    """The number after the last sample of the frame that begins here; None when none does."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or not head[2] & 0xF0:
        return None
    number, used = _coded_number(head[4:11])
    if used == 0:
        return None
    code, at = head[2] >> 4, 4 + used
    if code in (6, 7):
        size, at = int.from_bytes(head[at : at + code - 5], "big") + 1, at + code - 5
    else:
        size = 192 if code == 1 else 576 << (code - 2) if code < 6 else 256 << (code - 8)
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return (number if head[1] & 1 else number * fixed) + size  # it counts samples, or frames of one size


def _coded_number(data: bytes) -> tuple[int, int]:
    """A number in UTF-8's way, and how many bytes it takes; 0 when it is none."""
    if not data or 0x80 <= data[0] < 0xC0 or data[0] == 0xFF:
        return 0, 0
    if data[0] < 0x80:
        return data[0], 1
    more = 7 - (data[0] ^ 0xFF).bit_length()
    number = data[0] & 0x3F >> more
    for byte in data[1 : more + 1]:
        number = number << 6 | byte & 0x3F
    return number, more + 1


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x07 if crc & 0x80 else 0)) & 0xFF
    return crc


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


def _entry(index: int) -> int:
    crc = index << 8
    for _ in range(8):
        crc = (crc << 1 ^ (0x8005 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


_CRC16: Final = tuple(_entry(index) for index in range(256))
