"""Small pictures of results, for the list of tasks."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from ...bridge.results.formats import kind_of
from ...bridge.table.values import Kind
from .result_files import NoThumbnailError

#: Pixels, the longer side.
SIZE: Final = 192
#: Thumbnails kept in memory, of about 6 KB each.
KEPT: Final = 512
#: Decoding more would cost more memory than a thumbnail is worth.
MAX_PIXELS: Final = 200_000_000


def etag_of(path: Path) -> str:
    """Another one for each content of the file; raises NoThumbnailError when it is gone."""
    try:
        stat = path.stat()
    except OSError as error:
        raise NoThumbnailError(f"{path.name}: {error.strerror or error}") from error
    return hashlib.sha256(f"{path}|{stat.st_mtime_ns}|{stat.st_size}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Thumbnails:
    """Makes each picture once, on a thread of its own: a page full of them must not hold up other requests."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="wfrecovery-thumbnails")

    async def of(self, path: Path, etag: str) -> bytes:
        """WebP of at most SIZE × SIZE pixels; raises NoThumbnailError when file or libraries do not allow it."""
        return await asyncio.get_running_loop().run_in_executor(self._maker, self._of, path, etag)

    def _of(self, path: Path, etag: str) -> bytes:
        if etag not in self._made:
            self._made[etag] = _made(path)
            if len(self._made) > KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(etag)
        return self._made[etag]


def _made(path: Path) -> bytes:
    try:
        from PIL import Image  # noqa: PLC0415 - ComfyUI has it; a process that shows no thumbnail needs none
    except ImportError:
        raise NoThumbnailError("Pillow is not installed") from None
    try:
        with _first_frame(path) if kind_of(path) is Kind.VIDEO else Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise NoThumbnailError(f"{path.name} has {picture.width} × {picture.height} pixels")
            picture.draft("RGB", (SIZE, SIZE))  # JPEG: decode no more than needed
            picture.thumbnail((SIZE, SIZE))
            transparent = "A" in picture.getbands() or "transparency" in picture.info
            target = io.BytesIO()
            picture.convert("RGBA" if transparent else "RGB").save(target, "WEBP", quality=80)
            return target.getvalue()
    except NoThumbnailError:
        raise
    except Exception as error:  # decoders fail in many ways
        raise NoThumbnailError(f"{path.name}: {error}") from error


def _first_frame(path: Path) -> Any:
    try:
        import av  # noqa: PLC0415 - not everywhere, and slow to import
    except ImportError:
        raise NoThumbnailError("PyAV is not installed") from None
    with av.open(str(path)) as video:
        for frame in video.decode(video=0):
            return frame.to_image()  # type: ignore[no-untyped-call]
    raise NoThumbnailError(f"{path.name} has no frame")
