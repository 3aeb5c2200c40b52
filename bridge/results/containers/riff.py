"""WebP pictures, WAV sound and AVI films: all three are RIFF, chunk after chunk with its length."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from . import mp3, tiff
from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text

#: What stands where a length goes that is not known yet, or never: a pipe cannot be written to again.
_OPEN: Final = 0xFFFFFFFF
_PICTURE: Final = frozenset({b"VP8 ", b"VP8L", b"ANMF"})
_NAMES: Final = {b"ICMT": "comment"}


def whole_webp(reader: Reader) -> bool:
    """The whole length is written last where it is not known before."""
    size = reader.number(4, 4, "little")
    if size == 0:
        raise BrokenFileError("it was not closed: its length is missing")
    if 8 + size > reader.size:
        raise BrokenFileError(CUT)
    kinds = {kind for kind, _, _ in _chunks(reader, 12, 8 + size)}
    if not kinds & _PICTURE:
        raise BrokenFileError("it holds no picture")
    return not reader.is_blank(8 + size)


def whole_wav(reader: Reader) -> bool:
    """Closed when both lengths, of all and of the sound, are there and fit."""
    long = reader.at(0, 4) != b"RIFF"  # RF64: the lengths stand in a chunk of their own
    end = reader.number(20, 8, "little") + 8 if long else reader.number(4, 4, "little") + 8
    if not long and end - 8 in (0, _OPEN):
        return False
    if end > reader.size:
        raise BrokenFileError(CUT)
    for kind, start, length in _chunks(reader, 12, end, sound=reader.number(28, 8, "little") if long else None):
        if kind == b"data":
            if length == 0 and start < reader.size:
                raise BrokenFileError("it was not closed: its length is missing")
            return True
    raise BrokenFileError("it holds no sound")


def whole_avi(reader: Reader) -> bool:
    """Each of its RIFF parts is there; one that was not closed has no length."""
    position, parts = 0, 0
    while parts < MOST_PARTS and reader.up_to(position, 4) == b"RIFF":
        size = reader.number(position + 4, 4, "little")
        if size in (0, _OPEN):
            return False
        end = position + 8 + size
        if end > reader.size:
            raise BrokenFileError(CUT)
        lists = [
            reader.at(start, 4)
            for kind, start, length in _chunks(reader, position + 12, end)
            if kind == b"LIST" and length >= 4
        ]
        if b"movi" not in lists or (parts == 0 and b"hdrl" not in lists):
            raise BrokenFileError("it holds no film")
        position, parts = end + size % 2, parts + 1
    return True


def texts(reader: Reader) -> Iterator[Text]:
    """Exif and XMP of WebP; of the others the list of named texts, and ID3."""
    for kind, start, length in _chunks(reader, 12, reader.size):
        if length > MOST_BYTES:
            continue
        if kind == b"EXIF":
            yield from tiff.exif_texts(reader.at(start, length))
        elif kind == b"XMP ":
            yield None, reader.at(start, length)
        elif kind in (b"id3 ", b"ID3 "):
            yield from mp3.id3_texts(reader, start)
        elif kind == b"LIST" and reader.up_to(start, 4) == b"INFO":
            for name, at, size in _chunks(reader, start + 4, start + length):
                yield _NAMES.get(name, name.decode("latin-1")), reader.at(at, size)


def _chunks(reader: Reader, start: int, end: int, sound: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the content of each chunk; `sound` is the length of `data` where it has more bits."""
    for _ in range(MOST_PARTS):
        if start + 8 > end:  # a byte may follow that fills up to an even length
            return
        kind, length = struct.unpack("<4sI", reader.at(start, 8))
        if kind == b"data" and length == _OPEN and sound is not None:
            length = sound
        if start + 8 + length > end:
            raise BrokenFileError(DAMAGED if end < reader.size else CUT)
        yield kind, start + 8, length
        start += 8 + length + length % 2
    raise CannotTellError
