"""Pictures and films that say which rendering they are: in their pixels and frames, where the product never looks."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGN = b"MARK"
#: One row of four RGB pixels: the sign, and the number in eight bytes.
_ROW = struct.Struct(">4sQ")


def png(number: int, texts: Mapping[str, Any]) -> bytes:
    """A picture of four pixels that mean the number, with its texts as SaveImage writes them."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 8, 2, 0, 0, 0))]
    chunks += [(b"tEXt", key.encode("latin-1") + b"\0" + json.dumps(value).encode()) for key, value in texts.items()]
    chunks += [(b"IDAT", zlib.compress(b"\0" + _ROW.pack(_SIGN, number))), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def mp4(number: int, texts: Mapping[str, Any]) -> bytes:
    """A film whose frames mean the number, with its texts in one comment, as VideoHelperSuite writes them."""
    comment = json.dumps(texts).encode()
    text = _box(b"\xa9cmt", struct.pack(">HH", len(comment), 0) + comment) if texts else b""
    return (
        _box(b"ftyp", b"isom\0\0\0\0")
        + _box(b"mdat", _ROW.pack(_SIGN, number))
        + _box(b"moov", _box(b"udta", text) if text else b"")
    )


def number_of(content: bytes) -> int | None:
    """Which rendering a file is; None where it is none, or not whole."""
    if content.startswith(_SIGNATURE):
        parts = dict(_chunks(content))
        row = zlib.decompress(parts[b"IDAT"])[1:] if {b"IDAT", b"IEND"} <= parts.keys() else b""
    else:
        boxes = dict(_boxes(content))
        row = boxes[b"mdat"] if b"moov" in boxes else b""
    sign, number = _ROW.unpack(row) if len(row) == _ROW.size else (b"", 0)
    return number if sign == _SIGN else None


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], len(_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            break
        found.append((content[position + 4 : position + 8], content[position + 8 : end]))
        position = end + 4
    return found


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 0
    while position + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        if length < 8 or position + length > len(content):
            break
        found.append((content[position + 4 : position + 8], content[position + 8 : position + length]))
        position += length
    return found
