"""Read the size of a picture from its first bytes; enough for what Feishu shows, and no library needed."""

from __future__ import annotations

import struct

__all__ = ["is_webp", "pixel_size"]

_PNG = b"\x89PNG\r\n\x1a\n"
#: JPEG markers that carry the size: start of frame, without DHT (C4), JPG (C8) and DAC (CC)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def pixel_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, GIF, BMP or JPEG; (0, 0) for anything else."""
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
        elif data.startswith(b"\xff\xd8"):
            width, height = _jpeg_size(data)
        else:
            return 0, 0
    except (struct.error, IndexError):
        return 0, 0
    return int(width), abs(int(height))


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Step from marker to marker up to the frame."""
    at = 2
    while data[at] == 0xFF:
        if data[at + 1] in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    return 0, 0
