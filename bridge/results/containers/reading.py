"""How the bytes of a result file are read: only where asked for, and never beyond what a hostile file may cost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

#: A name, or None where the format has none, and the bytes that stand under it.
Text = tuple[str | None, bytes]

#: Metadata of one file that are read. A large workflow has a few MB.
MOST_BYTES: Final = 16 * 1024 * 1024
#: Parts of one file that are looked at. Real files have far fewer; a hostile one must not keep us busy.
MOST_PARTS: Final = 200_000
#: What is read at a time where all bytes count.
BLOCK: Final = 1024 * 1024
#: Packed pictures and sound never have so many zeros in a row.
_LAST: Final = 1024

CUT: Final = "it ends in the middle"
DAMAGED: Final = "a part of it is damaged"

#: Their values are large, and a tag inside them is that of an older file.
_NOT_READ: Final = frozenset({"prompt", "workflow"})


class BrokenFileError(ValueError):
    """The file is not whole; the message says how."""


class CannotTellError(ValueError):
    """The file has more parts than any real one, or is built in a way that is not read here."""


class Reader:
    """An open file, read at any place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def at(self, position: int, count: int) -> bytes:
        """Exactly `count` bytes; BrokenFileError when the file has fewer."""
        if position + count > self.size:  # reading sets that much memory aside first
            raise BrokenFileError(CUT)
        data = self.up_to(position, count)
        if len(data) < count:  # it got shorter meanwhile
            raise BrokenFileError(CUT)
        return data

    def up_to(self, position: int, count: int) -> bytes:
        """As much of it as the file has."""
        if position >= self.size:
            return b""
        self._file.seek(position)
        return self._file.read(min(count, self.size - position))

    def blocks(self, position: int, count: int) -> Iterator[bytes]:
        """`count` bytes in pieces."""
        while count > 0:
            data = self.at(position, min(count, BLOCK))
            yield data
            position, count = position + len(data), count - len(data)

    def is_blank(self, end: int) -> bool:
        """Whether only zeros stand before `end`, as after a power cut that the last bytes did not survive."""
        start = max(end - _LAST, 0)
        return not any(self.up_to(start, end - start))

    def onward(self, position: int) -> Iterator[bytes]:
        """All from here on, in pieces that begin small: mostly what is looked for is near."""
        count = 4096
        while data := self.up_to(position, count):
            yield data
            position, count = position + len(data), min(2 * count, BLOCK)

    def number(self, position: int, count: int, order: str = "big") -> int:
        """The unsigned number in `count` bytes."""
        data = self.at(position, count)
        return int.from_bytes(data, "big" if order == "big" else "little")


def is_read(key: str) -> bool:
    """Whether the value under this name may hold the tag of the file itself."""
    return key.lower() not in _NOT_READ
