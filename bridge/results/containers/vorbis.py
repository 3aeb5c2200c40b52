"""The named texts of FLAC, Opus and Vorbis."""

from __future__ import annotations

from collections.abc import Iterator

from .reading import Text, is_read


def comments(data: bytes) -> Iterator[Text]:
    """Those of a comment block, as far as it goes."""
    position = 4 + _number(data, 0)  # the name of the encoder
    count, position = _number(data, position), position + 4
    for _ in range(min(count, len(data) // 4)):
        length = _number(data, position)
        name, _, value = data[position + 4 : position + 4 + length].partition(b"=")
        key = name.decode("utf-8", "replace")
        if is_read(key):
            yield key, value
        position += 4 + length


def _number(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4], "little")
