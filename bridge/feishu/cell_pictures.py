"""Pictures as a cell of the sheet takes them; the original file stays as it is."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..results.formats import format_of
from ..wording import Wording
from .errors import FeishuError, Remedy

if TYPE_CHECKING:
    from PIL.Image import Image

#: What Feishu's command line tool allows; the page of `values_image` names no limit.
LARGEST_PICTURE: Final = 20 * 1024 * 1024
#: The formats that the page of `values_image` lists, as far as they are known here; webp is not among them.
_TAKEN: Final = frozenset({"png", "jpeg", "gif", "bmp", "tiff", "heic"})
#: How PostScript begins, which Pillow has Ghostscript run.
_PROGRAMS: Final = (b"%!", b"\xc5\xd0\xd3\xc6")
#: Decoded for a conversion, a picture takes 4 bytes a pixel, twice.
MOST_PIXELS: Final = 100_000_000
#: Longest side in pixels and JPEG quality, tried one after the other until the picture is small enough.
_SMALLER: Final = ((None, 92), (4096, 90), (2048, 88), (1280, 85), (768, 80), (384, 75))


def picture_for_cell(name: str, content: bytes, limit: int = LARGEST_PICTURE) -> tuple[str, bytes]:
    """Name and bytes for the cell, of at most `limit` bytes, from a picture's file name and content.

    The content decides, and gives the name its ending: savers write JPEG into files called `.png`. A format that
    Feishu does not list becomes PNG, what is too large JPEG, both with Pillow. Raises FeishuError where that is not
    installed or not enough, or where the content is no picture.
    """
    found = format_of(content)
    stem = PurePosixPath(name).stem
    taken = found is not None and found.name in _TAKEN
    if found is not None and taken and len(content) <= limit:
        return stem + found.suffix, content
    for ending, converted in _conversions(name, content, as_png=not taken):
        if len(converted) <= limit:
            return stem + ending, converted
    raise FeishuError(
        Wording(
            f"{name} is too large for a cell, also as a small JPEG (over {limit} bytes)",
            f"{name} 太大，缩小成 JPEG 后仍放不进单元格（超过 {limit} 字节）",
        ),
        remedy=Remedy.FINAL,
    )


def marks_of(content: bytes) -> frozenset[str]:
    """What a picture is known by, in hex: its bytes, and what it shows to the last pixel, whoever has written it.
    Whether Feishu gives back the bytes that it got is documented nowhere."""
    marks = {hashlib.sha256(content).hexdigest()}
    with contextlib.suppress(FeishuError):  # no picture that can be read here: the bytes are all that is known
        picture = _opened("picture", content).convert("RGBA")
        marks.add(hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest())
    return frozenset(marks)


def _conversions(name: str, content: bytes, *, as_png: bool) -> Iterator[tuple[str, bytes]]:
    """Ending and bytes, each smaller than the one before."""
    picture = _opened(name, content)
    if as_png:
        yield ".png", _saved(picture, "PNG")
    flat = _on_white(picture)
    for side, quality in _SMALLER:
        if side is not None:
            flat.thumbnail((side, side))
        yield ".jpg", _saved(flat, "JPEG", quality=quality)


def _opened(name: str, content: bytes) -> Image:
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - ComfyUI brings it, main.py's environment may not
    except ImportError:
        found = format_of(content)
        ending = found.suffix if found is not None else PurePosixPath(name).suffix
        kind = f"{ending} pictures" if ending else "pictures without an ending"
        raise FeishuError(
            Wording(
                f"{name}: Feishu takes no {kind}, or none so large; "
                "save smaller PNG files, or run: python -m pip install pillow",
                f"{name}：飞书不接受这种格式或这么大的图片；请保存较小的 PNG，或运行：python -m pip install pillow",
            ),
            remedy=Remedy.FINAL,
        ) from None
    if content.startswith(_PROGRAMS):
        raise _no_picture(name)
    try:
        picture = Image.open(io.BytesIO(content))
        _check_pixels(name, picture.width * picture.height)
        picture.load()
    except UnidentifiedImageError:
        raise _no_picture(name) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FeishuError(
            Wording(f"{name} cannot be converted for the cell: {error}", f"{name} 无法转换成单元格图片：{error}"),
            remedy=Remedy.FINAL,
        ) from None
    return picture.convert("RGBA" if "transparency" in picture.info or "A" in picture.getbands() else "RGB")


def _no_picture(name: str) -> FeishuError:
    return FeishuError(
        Wording(
            f"{name} cannot be converted for the cell: it is no picture that can be read",
            f"{name} 无法转换成单元格图片：它不是可以读取的图片",
        ),
        remedy=Remedy.FINAL,
    )


def _check_pixels(name: str, pixels: int) -> None:
    if pixels > MOST_PIXELS:
        raise FeishuError(
            Wording(
                f"{name} has {pixels:,} pixels, too many to be converted for a cell → save a smaller picture, then "
                "render the row again",
                f"{name} 有 {pixels:,} 个像素，太多，无法转换成单元格图片 → 请保存较小的图片，再重新生成该行",
            ),
            remedy=Remedy.FINAL,
        )


def _on_white(picture: Image) -> Image:
    """JPEG has no transparency."""
    if picture.mode != "RGBA":
        return picture.copy()
    flat: Image = picture.convert("RGB")
    flat.paste((255, 255, 255), (0, 0, *flat.size))
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def _saved(picture: Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
