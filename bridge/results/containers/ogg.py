"""Ogg (RFC 3533), with Opus, Vorbis, Theora, Speex or FLAC inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from . import vorbis
from .reading import CUT, DAMAGED, MOST_BYTES, MOST_PARTS, BrokenFileError, CannotTellError, Reader, Text

_CONTINUED: Final = 1
_FIRST: Final = 2
_LAST: Final = 4
#: How a packet of named texts begins; in FLAC a block header of four bytes stands before them.
_COMMENTS: Final = (b"OpusTags", b"\x03vorbis", b"\x81theora", b"\x84\0\0\0", b"\x04\0\0\0")
_FLAC: Final = b"\x7fFLAC"


class _Page(NamedTuple):
    """One page: its flags, the stream it belongs to, and its content in the pieces of which packets are made."""

    flags: int
    stream: int
    start: int
    pieces: bytes
    first: int

    @property
    def end(self) -> int:
        return self.first + sum(self.pieces)


def whole(reader: Reader) -> bool:
    """Every stream has its last page; an encoder that died has not written it."""
    open_streams: set[int] = set()
    last = None
    for page in _pages(reader):
        if page.flags & _LAST:
            open_streams.discard(page.stream)
        elif page.flags & _FIRST:
            open_streams.add(page.stream)
        last = page
    if last is None or open_streams:  # some streams are handed out without an end
        return False
    if _crc(reader.at(last.start, last.end - last.start)) != reader.number(last.start + 22, 4, "little"):
        raise BrokenFileError(DAMAGED)
    return True


def texts(reader: Reader) -> Iterator[Text]:
    """The named texts, in the second packet of each stream. A packet may go over many pages."""
    packets: dict[int, list[bytes]] = {}
    total = 0
    for page in _pages(reader):
        if page.flags & _FIRST:
            packets[page.stream] = [b""]
        if not packets:
            return
        known = packets.get(page.stream)
        if known is None:
            continue
        if (total := total + page.end - page.first) > MOST_BYTES:
            return
        _add(known, page.pieces, reader.at(page.first, page.end - page.first))
        if len(known) > 2:
            yield from _named(known[0], known[1])
            del packets[page.stream]


def _add(packets: list[bytes], pieces: bytes, data: bytes) -> None:
    """A piece shorter than 255 bytes ends a packet."""
    parts, position, begun = [packets.pop()], 0, 0
    for size in pieces:
        position += size
        if size < 255:
            parts.append(data[begun:position])
            packets.append(b"".join(parts))
            parts, begun = [], position
            if len(packets) > 2:
                return
    parts.append(data[begun:position])
    packets.append(b"".join(parts))


def _named(head: bytes, packet: bytes) -> Iterator[Text]:
    begin = next((start for start in _COMMENTS if packet.startswith(start)), None)
    if begin is not None:
        yield from vorbis.comments(packet[len(begin) :])
    elif head.startswith(_FLAC):
        yield from vorbis.comments(packet[4:])
    else:
        yield from vorbis.comments(packet)  # Speex


def _pages(reader: Reader) -> Iterator[_Page]:
    """Page after page; what follows the last page of all streams is no matter."""
    position = 0
    open_streams: set[int] = set()
    for _ in range(MOST_PARTS):
        head = reader.up_to(position, 27)
        if len(head) < 27 or head[:5] != b"OggS\0":
            if position and (not open_streams or not head):
                return
            raise BrokenFileError(CUT if b"OggS".startswith(head[:4]) else DAMAGED)
        flags, stream = head[5], int.from_bytes(head[14:18], "little")
        pieces = reader.at(position + 27, head[26])
        page = _Page(flags, stream, position, pieces, position + 27 + len(pieces))
        if page.end > reader.size:
            raise BrokenFileError(CUT)
        (open_streams.discard if flags & _LAST else open_streams.add)(stream)
        yield page
        position = page.end
    raise CannotTellError


def _crc(page: bytes) -> int:
    """The sum of a page, in which its own place counts as zeros."""
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
    return crc


def _entry(index: int) -> int:
    crc = index << 24
    for _ in range(8):
        crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


_CRC: Final = tuple(_entry(index) for index in range(256))
