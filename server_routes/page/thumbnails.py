"""Small pictures of results, for the list of tasks."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from ...bridge.results.formats import kind_of
from ...bridge.table.values import Kind
from .result_files import NoThumbnailError

#: Pixels, the longer side.
SIZE: Final = 192
#: Thumbnails kept in memory, of about 6 KB each, and what is known to have none.
KEPT: Final = 512
#: Requests that wait for one, each of which holds a connection; a page asks for some dozens.
MAX_WAITING: Final = 200
#: What is decoded takes 4 to 8 bytes a pixel. JPEG is decoded at an eighth of its size.
MAX_PIXELS: Final = 40_000_000
MAX_PIXELS_JPEG: Final = 400_000_000
#: Some decoders read the whole file into memory.
MAX_BYTES: Final = 256 * 1024 * 1024
#: A video whose first frame does not come within so many packets and seconds has none for us.
_MAX_PACKETS: Final = 500
_VIDEO_SECONDS: Final = 10.0


def etag_of(path: Path) -> str:
    """Another one for each content of the file; raises NoThumbnailError when it is gone."""
    try:
        stat = path.stat()
    except OSError as error:
        raise NoThumbnailError(f"{path.name}: {error.strerror or error}") from error
    return hashlib.sha256(f"{path}|{stat.st_mtime_ns}|{stat.st_size}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Thumbnails:
    """Makes each picture once, on a thread of its own: a page full of them must not hold up other requests. One at a
    time, so that no more than one is decoded in memory."""

    def __init__(self) -> None:
        #: by etag: the picture, or why there is none
        self._made: OrderedDict[str, bytes | NoThumbnailError] = OrderedDict()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="wfrecovery-thumbnails")
        self._waiting = 0

    async def of(self, path: Path, etag: str) -> bytes:
        """WebP of at most SIZE × SIZE pixels; raises NoThumbnailError when file or libraries do not allow it."""
        if self._waiting >= MAX_WAITING:
            raise NoThumbnailError("too many are asked for at once; ask again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._maker, self._of, path, etag)
        finally:
            self._waiting -= 1

    def _of(self, path: Path, etag: str) -> bytes:
        if etag not in self._made:
            self._made[etag] = _tried(path)
            if len(self._made) > KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(etag)
        made = self._made[etag]
        if isinstance(made, NoThumbnailError):
            raise NoThumbnailError(str(made))
        return made


def _tried(path: Path) -> bytes | NoThumbnailError:
    try:
        return _made(path)
    except NoThumbnailError as error:
        return error
    except Exception as error:  # decoders fail in many ways
        why = NoThumbnailError(f"{path.name}: {error}")
        if isinstance(error, OSError) and error.errno is not None:  # the disk, this time
            raise why from error
        return why


def _made(path: Path) -> bytes:
    try:
        from PIL import Image  # noqa: PLC0415 - ComfyUI has it; a process that shows no thumbnail needs none
    except ImportError:
        raise NoThumbnailError("Pillow is not installed") from None
    kind = kind_of(path)
    if kind is Kind.VIDEO:
        return _small(_first_frame(path))
    if kind is not Kind.PICTURE:  # by its content: Pillow has Ghostscript run what a file called .png may hold
        raise NoThumbnailError(f"{path.name} is no picture")
    if path.stat().st_size > MAX_BYTES:
        raise NoThumbnailError(f"{path.name} is larger than {MAX_BYTES} bytes")
    with Image.open(path) as picture:
        _check_size(path, picture.size, MAX_PIXELS_JPEG if picture.format == "JPEG" else MAX_PIXELS)
        picture.draft("RGB", (SIZE, SIZE))  # JPEG: decode no more than needed
        _check_size(path, picture.size, MAX_PIXELS)
        return _small(picture)


def _check_size(path: Path, size: tuple[int, int], most: int) -> None:
    width, height = size
    if width * height > most:
        raise NoThumbnailError(f"{path.name} has {width} × {height} pixels, too many for a thumbnail")


def _small(picture: Any) -> bytes:
    picture.thumbnail((SIZE, SIZE))
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    target = io.BytesIO()
    picture.convert("RGBA" if transparent else "RGB").save(target, "WEBP", quality=80)
    return target.getvalue()


def _first_frame(path: Path) -> Any:
    try:
        import av  # noqa: PLC0415 - not everywhere, and slow to import
    except ImportError:
        raise NoThumbnailError("PyAV is not installed") from None
    end = time.monotonic() + _VIDEO_SECONDS
    with av.open(str(path), timeout=_VIDEO_SECONDS) as video:  # of a damaged one it looks for a beginning to its end
        stream = video.streams.video[0]
        _check_size(path, (stream.width or 0, stream.height or 0), MAX_PIXELS)
        for packet in itertools.islice(video.demux(stream), _MAX_PACKETS):
            for frame in packet.decode():
                _check_size(path, (frame.width, frame.height), MAX_PIXELS)
                return frame.to_image()  # type: ignore[no-untyped-call]
            if time.monotonic() > end:
                break
    raise NoThumbnailError(f"{path.name} has no frame")
