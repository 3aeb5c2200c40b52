"""PNG pictures, also animated ones (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from . import tiff
from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text, is_read

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: `comf` is what ComfyUI's SaveAnimatedPNG writes, after the picture.
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})


def whole(reader: Reader) -> bool:
    """Each part has its checksum, and the last one is IEND."""
    first, has_picture = True, False
    for kind, start, length in _chunks(reader):
        if first and kind != b"IHDR":
            raise BrokenFileError(DAMAGED)
        crc = zlib.crc32(kind)
        for block in reader.blocks(start, length):
            crc = zlib.crc32(block, crc)
        if crc != reader.number(start + length, 4):
            raise BrokenFileError(f"its {kind.decode()} part is damaged" if kind.isalpha() else DAMAGED)
        first, has_picture = False, has_picture or kind == b"IDAT"
    if not has_picture:
        raise BrokenFileError("it holds no picture")
    return True


def texts(reader: Reader) -> Iterator[Text]:
    """Those before and after the picture."""
    for kind, start, length in _chunks(reader):
        if kind == b"eXIf" and length <= MOST_BYTES:
            yield from tiff.exif_texts(reader.at(start, length))
        elif kind in _TEXTS and length <= MOST_BYTES:
            key = reader.at(start, min(length, 80)).partition(b"\0")[0].decode("latin-1")
            if is_read(key):
                value = reader.at(start, length)[len(key) + 1 :]
                yield key, _inflated(kind, value)


def _inflated(kind: bytes, value: bytes) -> bytes:
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, value = value[:1] == b"\1", value[1:]
    if kind in (b"zTXt", b"iTXt"):
        value = value[1:]  # the method: there is only one
    if kind == b"iTXt":
        value = value.split(b"\0", 2)[-1]  # language and translated name
    if packed:
        try:
            value = zlib.decompressobj().decompress(value, MOST_BYTES)
        except zlib.error:
            return b""
    return value


def _chunks(reader: Reader) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the content of each part, up to IEND."""
    position = len(SIGNATURE)
    for _ in range(MOST_PARTS):
        length, kind = struct.unpack(">I4s", reader.at(position, 8))
        if position + 12 + length > reader.size:
            raise BrokenFileError(CUT)
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length
    raise CannotTellError
