"""Routes for files: /view, /upload/image, /upload/mask."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from . import folder_paths

#: Shown by a browser, these could run scripts in the page's name.
_DOWNLOAD_ONLY = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}


def add_file_routes(routes: web.RouteTableDef) -> None:
    """Register them."""
    routes.get("/view")(_view)
    routes.post("/upload/image")(_upload)
    routes.post("/upload/mask")(_upload)


def _inside(root: str, *parts: str) -> Path | None:
    """The path below root, or None when it would leave it."""
    path = Path(os.path.normpath(Path(root, *parts)))
    return path if path.is_relative_to(os.path.normpath(root)) else None


async def _view(request: web.Request) -> web.StreamResponse:
    query = request.rel_url.query
    if "filename" not in query:
        return web.Response(status=404)
    name, folder = folder_paths.annotated_filepath(query["filename"])
    if not name or name.startswith("/") or ".." in name:
        return web.Response(status=400)
    folder = folder or folder_paths.get_directory_by_type(query.get("type", "output"))
    if folder is None:
        return web.Response(status=400)
    directory = _inside(folder, query.get("subfolder", ""))
    if directory is None:
        return web.Response(status=403)
    file = directory / Path(name).name
    if not file.is_file():
        return web.Response(status=404)
    disposition = {"Content-Disposition": f'filename="{file.name}"'}
    if "preview" in query:
        kind, body = _preview(file, query["preview"])
        return web.Response(body=body, content_type=f"image/{kind}", headers=disposition)
    content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    if content_type in _DOWNLOAD_ONLY:
        content_type = "application/octet-stream"
    return web.FileResponse(file, headers={**disposition, "Content-Type": content_type})


def _preview(file: Path, wanted: str) -> tuple[str, bytes]:
    """A smaller file of the same picture: ``webp;90`` or ``jpeg``."""
    from PIL import Image  # noqa: PLC0415 - only when a preview is asked for

    kind, _, quality = wanted.partition(";")
    kind = kind if kind in {"webp", "jpeg"} else "webp"
    with Image.open(file) as picture:
        out = io.BytesIO()
        shown = picture.convert("RGB") if kind == "jpeg" else picture
        shown.save(out, format=kind, quality=int(quality) if quality.isdigit() else 90)
    return kind, out.getvalue()


async def _upload(request: web.Request) -> web.Response:
    post = await request.post()
    image = post.get("image")
    if not isinstance(image, web.FileField) or not image.filename:
        return web.Response(status=400)
    kind = str(post.get("type", "input"))
    folder = folder_paths.get_directory_by_type(kind)
    subfolder = str(post.get("subfolder", ""))
    if folder is None:
        return web.Response(status=400)
    target = _inside(folder, subfolder, image.filename)
    if target is None:
        return web.Response(status=400)
    name = _store(target, image.file.read(), post.get("overwrite") in {"true", "1"})
    return web.json_response({"name": name, "subfolder": subfolder, "type": kind})


def _store(target: Path, content: bytes, overwrite: bool) -> str:
    """Write an upload. The same content under the same name is kept once, other content becomes ``name (1).png``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stem, suffix = target.stem, target.suffix
    number = 1
    while target.exists() and not overwrite:
        if _same(target, content):
            return target.name
        target = target.with_name(f"{stem} ({number}){suffix}")
        number += 1
    target.write_bytes(content)
    return target.name


def _same(path: Path, content: bytes) -> bool:
    def digest(data: Any) -> bytes:
        return hashlib.sha256(data).digest()

    return path.stat().st_size == len(content) and digest(path.read_bytes()) == digest(content)
