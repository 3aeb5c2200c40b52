"""Of what format and kind a file is: judged by its first bytes, for savers write JPEG into files called `.png`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ..table.values import Kind
from .containers import exr, mp3, png


@dataclass(frozen=True)
class Format:
    """One format, its kind, and the suffix that files of it should have."""

    name: str
    kind: Kind
    suffix: str


#: Bytes from the start of a file that tell what it is.
HEAD_BYTES: Final = 4096

_FORMATS: Final = {
    item.name: item
    for item in (
        Format("png", Kind.PICTURE, ".png"),
        Format("jpeg", Kind.PICTURE, ".jpg"),
        Format("gif", Kind.PICTURE, ".gif"),
        Format("webp", Kind.PICTURE, ".webp"),
        Format("bmp", Kind.PICTURE, ".bmp"),
        Format("tiff", Kind.PICTURE, ".tiff"),
        Format("avif", Kind.PICTURE, ".avif"),
        Format("heic", Kind.PICTURE, ".heic"),
        Format("mp4", Kind.VIDEO, ".mp4"),
        Format("mov", Kind.VIDEO, ".mov"),
        Format("m4v", Kind.VIDEO, ".m4v"),
        Format("webm", Kind.VIDEO, ".webm"),
        Format("mkv", Kind.VIDEO, ".mkv"),
        Format("avi", Kind.VIDEO, ".avi"),
        Format("ogv", Kind.VIDEO, ".ogv"),
        Format("m4a", Kind.AUDIO, ".m4a"),
        Format("flac", Kind.AUDIO, ".flac"),
        Format("mp3", Kind.AUDIO, ".mp3"),
        Format("ogg", Kind.AUDIO, ".ogg"),
        Format("opus", Kind.AUDIO, ".opus"),
        Format("wav", Kind.AUDIO, ".wav"),
    )
}

#: The suffixes of all of them.
SUFFIXES: Final = frozenset(item.suffix for item in _FORMATS.values())

_KINDS: Final = {item.suffix: item.kind for item in _FORMATS.values()} | dict.fromkeys((".jpeg", ".tif"), Kind.PICTURE)

#: ISO/IEC 14496-12: the brand of a file that begins with `ftyp`.
_BRANDS: Final = {
    b"avif": "avif",
    b"avis": "avif",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "heic"),
    b"qt  ": "mov",
    **dict.fromkeys((b"M4V ", b"M4VH", b"M4VP"), "m4v"),
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "m4a"),
}
#: How QuickTime files without a brand begin.
_QUICKTIME: Final = frozenset({b"moov", b"mdat", b"wide", b"pnot"})
#: The name of a document type, behind its length.
_WEBM: Final = re.compile(rb"\x42\x82(?:\x84|\x40\x04|\x01\0{6}\x04)webm")
#: A drawing, after what may stand before it in any XML.
_SVG: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!](?:[^<>]*)>\s*)*<svg[\s>]")
_RIFF: Final = {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}
_BMP_HEADS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})
_STARTS: Final = {
    png.SIGNATURE: "png",
    b"\xff\xd8\xff": "jpeg",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"fLaC": "flac",
    exr.MAGIC: "exr",
    b"glTF": "glb",
}


def format_of(source: Path | bytes) -> Format | None:
    """The format of a file, or of one that begins with these bytes; None when it is none that people look at."""
    return _FORMATS.get(name_of(source if isinstance(source, bytes) else _head(source)) or "")


def kind_of(path: Path) -> Kind:
    """What kind of result a file is."""
    known = format_of(path)
    return known.kind if known else Kind.OTHER


def kind_by_name(name: str) -> Kind:
    """What kind of result a file is to be, of which there is nothing but its name."""
    return _KINDS.get(PurePosixPath(name).suffix.lower(), Kind.OTHER)


def name_of(head: bytes) -> str | None:
    """The name of the format of which these are the first bytes, also of some that have no kind."""
    name = next((name for start, name in _STARTS.items() if head.startswith(start)), None)
    if name is not None:
        return name
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm" if _WEBM.search(head[:256]) else "mkv"
    if head[:5] == b"OggS\0":
        return _in_ogg(head)
    if head[4:8] in _QUICKTIME:
        return "mov"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADS:
        return "bmp"
    return _sound(head) or _other(head)


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():  # to open a pipe waits for who writes into it
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def _by_brand(head: bytes) -> str:
    end = min(int.from_bytes(head[:4], "big"), 512)
    brands = [head[8:12], *(head[place : place + 4] for place in range(16, end, 4))]
    if brands[0] in (b"mif1", b"msf1"):  # says only that it is a picture
        return "avif" if b"avif" in brands or b"avis" in brands else "heic"
    return _BRANDS.get(brands[0], "mp4")


def _in_ogg(head: bytes) -> str:
    first = head[27 + head[26] :] if len(head) > 27 else b""
    if first.startswith(b"\x80theora"):
        return "ogv"
    return "opus" if first.startswith(b"OpusHead") else "ogg"


def _sound(head: bytes) -> str | None:
    tag = mp3.id3_length(head)
    if tag:
        return "flac" if head[tag : tag + 4] == b"fLaC" else "mp3"
    length = mp3.frame_length(head)
    if length is None:
        return None
    following = head[length : length + 4]
    return "mp3" if len(following) < 4 or mp3.frame_length(following) is not None else None


def _other(head: bytes) -> str | None:
    if head[8:10] == b'{"' and 0 < int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    return "svg" if _SVG.match(head) else None
