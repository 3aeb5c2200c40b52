"""Writing pictures and videos with the graph inside, as ComfyUI does."""
# ruff: noqa: PLC0415 - numpy, Pillow and PyAV are loaded with the first picture: the host starts without them

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any


def pictures_of(images: Any) -> Iterator[Any]:
    """Each picture of a batch as bytes."""
    import numpy as np

    for picture in images:
        yield np.clip(255.0 * picture, 0, 255).astype(np.uint8)


def save_png(picture: Any, path: Path, prompt: Any, extra_pnginfo: Any, compress_level: int = 4) -> None:
    """Write a PNG: one tEXt chunk for the graph, one for each key of extra_pnginfo."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    metadata = PngInfo()
    if prompt is not None:
        metadata.add_text("prompt", json.dumps(prompt))
    for key, value in (extra_pnginfo or {}).items():
        metadata.add_text(key, json.dumps(value))
    Image.fromarray(picture).save(path, pnginfo=metadata, compress_level=compress_level)


def save_video(images: Any, fps: Fraction, path: Path, prompt: Any, extra_pnginfo: Any) -> None:
    """Write an MP4: the same keys as container tags, which needs ``use_metadata_tags``."""
    import av

    with av.open(str(path), mode="w", options={"movflags": "use_metadata_tags"}) as output:
        for key, value in {**(extra_pnginfo or {}), **({} if prompt is None else {"prompt": prompt})}.items():
            output.metadata[key] = json.dumps(value)
        stream: Any = output.add_stream("h264", rate=fps)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures_of(images):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
