"""What a workflow makes: a picture or a video that shows what went into it, so that anybody can tell whose it is.

One band for each input, from left to right in the order of nodes and fields: of a text three colours below each other,
made from the text; of an uploaded picture the picture itself. The last band has the colours of this run: its seed, and
the number of the file in it. `shows` and `run_of` read that back; a video is read from its first frame.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from PIL import Image

__all__ = ["Bands", "Kind", "draw", "run_of", "shows"]

Kind: TypeAlias = Literal["png", "mp4"]
Colour: TypeAlias = "tuple[int, int, int]"
#: three colours, from the top
Bands: TypeAlias = "tuple[Colour, Colour, Colour]"

_WIDTH, _BLOCK = 32, 16
_FRAMES = 4
#: how far a colour may be off after a video's compression
_NEAR = 24


def draw(inputs: Sequence[str | bytes], run: str, kind: Kind) -> bytes:
    """The file: `inputs` are texts, or the uploaded files' content."""
    bands = [_band(value) for value in (*inputs, run)]
    picture = Image.new("RGB", (_WIDTH * len(bands), 3 * _BLOCK))
    for number, band in enumerate(bands):
        picture.paste(band, (number * _WIDTH, 0))
    return _video(picture) if kind == "mp4" else _png(picture)


def shows(file: bytes, value: str | bytes) -> bool:
    """Whether a result was made from this text or this picture, among others."""
    wanted = _look(_band(value))[0]
    return any(_alike(band, wanted) for band in _look(_opened(file)))


def run_of(file: bytes) -> Bands:
    """The colours that tell this run, and this file of it, from all others."""
    return _look(_opened(file))[-1]


def _band(value: str | bytes) -> Image.Image:
    if isinstance(value, bytes):
        try:
            return Image.open(io.BytesIO(value)).convert("RGB").resize((_WIDTH, 3 * _BLOCK))
        except OSError:
            # An uploaded video or sound: shown by colours like a text.
            value = hashlib.sha256(value).hexdigest()
    digest = hashlib.sha256(value.encode()).digest()
    band = Image.new("RGB", (_WIDTH, 3 * _BLOCK))
    for number in range(3):
        colour = (digest[3 * number], digest[3 * number + 1], digest[3 * number + 2])
        band.paste(colour, (0, number * _BLOCK, _WIDTH, (number + 1) * _BLOCK))
    return band


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "png")
    return data.getvalue()


def _video(picture: Image.Image) -> bytes:
    import av  # noqa: PLC0415 - slow to load, and few need it

    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream: Any = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *picture.size, "yuv420p", 4_000_000
        frame: Any = av.VideoFrame
        for _ in range(_FRAMES):
            container.mux(stream.encode(frame.from_image(picture)))
        container.mux(stream.encode())
    return data.getvalue()


def _opened(file: bytes) -> Image.Image:
    if file[4:8] != b"ftyp":
        return Image.open(io.BytesIO(file)).convert("RGB")
    import av  # noqa: PLC0415

    with av.open(io.BytesIO(file), "r") as container:
        frame = next(container.decode(video=0))
        return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _look(picture: Image.Image) -> list[Bands]:
    """The colour in the middle of each block."""
    found = []
    for left in range(0, picture.width, _WIDTH):
        column: list[Any] = [
            picture.getpixel((left + _WIDTH // 2, number * _BLOCK + _BLOCK // 2)) for number in range(3)
        ]
        found.append((column[0], column[1], column[2]))
    return found


def _alike(one: Bands, other: Bands) -> bool:
    pairs = zip(sum(one, ()), sum(other, ()), strict=True)
    return all(abs(a - b) <= _NEAR for a, b in pairs)
