"""Whether a result file is whole: read from its content, by the rules of its format.

A file that is not shown to be broken may be one whose format cannot tell. Only of a file that is known to be whole is
it certain that its writer closed it; after a crash nothing else counts as a result.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from .containers import bmp, exr, flac, gif, heif, jpeg, matroska, mp3, mp4, ogg, others, png, riff, tiff
from .containers.reading import CUT, DAMAGED, BrokenFileError, CannotTellError, Reader
from .formats import HEAD_BYTES, SUFFIXES, name_of

_CHECKS: Final[Mapping[str, Callable[[Reader], bool]]] = {
    "png": png.whole,
    "jpeg": jpeg.whole,
    "gif": gif.whole,
    "webp": riff.whole_webp,
    "bmp": bmp.whole,
    "tiff": tiff.whole,
    **dict.fromkeys(("avif", "heic"), heif.whole),
    **dict.fromkeys(("mp4", "mov", "m4v", "m4a"), mp4.whole),
    **dict.fromkeys(("webm", "mkv"), matroska.whole),
    "avi": riff.whole_avi,
    "flac": flac.whole,
    "mp3": mp3.whole,
    **dict.fromkeys(("ogg", "opus", "ogv"), ogg.whole),
    "wav": riff.whole_wav,
    "exr": exr.whole,
    "glb": others.whole_glb,
    "safetensors": others.whole_safetensors,
    "svg": others.whole_svg,
}
#: What pictures are called. Content that is no picture's is no result there.
_PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
_SUFFIXES: Final = SUFFIXES | _PICTURES | {".tif"}
#: How a page begins, and what a service says instead of a file: no picture, sound or film begins like that.
_PAGE: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_ANSWER: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*[<{]")
#: What the first bytes of every format fit into.
_SHORTEST: Final = 16


def why_not_whole(path: Path) -> str | None:
    """None when the file is there, not empty and not shown to be broken, else the reason in words."""
    try:
        _judge(path)
    except FileNotFoundError:
        return "it is not there"
    except (BrokenFileError, OSError, ValueError) as error:
        return str(error) or DAMAGED
    return None


def known_whole(path: Path) -> bool:
    """Whether the file itself proves that its writer closed it."""
    try:
        return _judge(path)
    except (OSError, ValueError):
        return False


def _judge(path: Path) -> bool:
    """True when it is known to be whole, False when that cannot be told; OSError or BrokenFileError when it is not."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a pipe waits for who writes into it
        raise BrokenFileError("it is no file")
    if status.st_size == 0:
        raise BrokenFileError("it is empty")
    with path.open("rb") as file:
        reader = Reader(file)
        head = reader.up_to(0, HEAD_BYTES)
        check = _CHECKS.get(name_of(head) or "")
        if check is None:
            _check_unknown(path.suffix.lower(), head)
            return False
        try:
            return check(reader)
        except CannotTellError:
            return False
        except (struct.error, IndexError, OverflowError):  # lengths that fit nowhere
            raise BrokenFileError(DAMAGED) from None


def _check_unknown(suffix: str, head: bytes) -> None:
    """A file with content that we do not know is broken where its name promises what we know, or where it is what comes
    in the place of a file: a page that asks for a login."""
    if not suffix and _PAGE.match(head):
        raise BrokenFileError("it is a web page")
    if suffix not in _SUFFIXES:
        return
    if _ANSWER.match(head):
        raise BrokenFileError(f"it is a text, and no {suffix[1:].upper()}")
    if not head.strip(b"\0"):  # what a crash of the machine leaves of a file that was not on the disk yet
        raise BrokenFileError("it holds nothing but zeros")
    if len(head) < _SHORTEST:
        raise BrokenFileError(CUT)
    if suffix in _PICTURES:
        raise BrokenFileError(f"it does not begin like a {suffix[1:].upper()} picture, nor like another one")
