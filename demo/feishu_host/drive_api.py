"""Drive in the stand-in: media of a document, files of a folder, their addresses; and the wiki's look-up."""

from __future__ import annotations

import math
import re
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from ..serving.forms import Part, parse_multipart
from .spreadsheet import Spreadsheet
from .switches import Limits, Switches
from .wire import Answer, ApiError, Kind, Request, Route

__all__ = ["DriveApi", "StoredFile", "WikiApi"]

UPLOAD_LIFETIME: Final = 24 * 3600
_DRIVE: Final = "/open-apis/drive/v1"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_MEDIA_SCOPES: Final = ("bitable:app", "docs:doc", "docs:document.media:upload", "drive:drive", "sheets:spreadsheet")
_FILE_SCOPES: Final = ("drive:drive", "drive:file", "drive:file:upload")
_LIST_SCOPES: Final = ("drive:drive", "drive:drive:readonly", "space:document:retrieve")
_META_SCOPES: Final = ("drive:drive", "drive:drive.metadata:readonly")
_PARENTS: Final = frozenset(
    {f"{kind}_{what}" for kind in ("doc", "docx", "sheet", "bitable") for what in ("image", "file")}
    | {"ccm_import_open", "vc_virtual_background", "moments"}
)


@dataclass(frozen=True)
class StoredFile:
    """A file in drive."""

    token: str
    name: str
    parent_type: str
    parent_node: str
    #: when it was complete, by the stand-in's clock
    at: float
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class _About:
    """What an upload says of itself."""

    file_name: str
    parent_type: str
    parent_node: str
    size: int


@dataclass
class _Upload:
    """An upload in parts that is under way."""

    about: _About
    expires: float
    block_bytes: int
    blocks: dict[int, bytes] = field(default_factory=dict)

    @property
    def block_num(self) -> int:
        return max(1, math.ceil(self.about.size / self.block_bytes))

    def block_size(self, seq: int) -> int:
        """All blocks are of one size, but the last."""
        last = self.about.size - (self.block_num - 1) * self.block_bytes
        return self.block_bytes if seq < self.block_num - 1 else last


class DriveApi:
    """Uploads at once or in parts, and downloads; both as media of a document and as files of a folder."""

    def __init__(
        self, book: Spreadsheet, app_token: str, limits: Limits, switches: Switches, clock: Callable[[], float]
    ) -> None:
        self.files: dict[str, StoredFile] = {}
        #: the folders that the app can see
        self.folders = {"standinFolder": "视频"}
        self._book = book
        self._parents = {"sheet": book.token, "bitable": app_token}
        self._limits = limits
        self._switches = switches
        self._clock = clock
        self._uploads: dict[str, _Upload] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        def route(method: str, path: str, operation: str, kind: Kind, handler: Any) -> Route:
            scopes = _META_SCOPES if "metas" in path else _FILE_SCOPES if path.startswith("files") else _MEDIA_SCOPES
            return Route(method, f"{_DRIVE}/{path}", operation, kind, handler, scopes)

        routes = [
            route("POST", "metas/batch_query", "metas_batch_query", Kind.OTHER, self._metas),
            Route("GET", f"{_DRIVE}/files", "files_list", Kind.OTHER, self._list, _LIST_SCOPES),
        ]
        for plural, single in (("medias", "media"), ("files", "file")):
            routes += [
                route("POST", f"{plural}/upload_all", f"{single}_upload_all", Kind.UPLOAD, self._upload_all),
                route("POST", f"{plural}/upload_prepare", f"{single}_upload_prepare", Kind.UPLOAD, self._prepare),
                route("POST", f"{plural}/upload_part", f"{single}_upload_part", Kind.UPLOAD, self._part),
                route("POST", f"{plural}/upload_finish", f"{single}_upload_finish", Kind.UPLOAD, self._finish),
                route("GET", f"{plural}/:token/download", f"{single}_download", Kind.DOWNLOAD, self._download),
            ]
        path = "medias/batch_get_tmp_download_url"
        return [*routes, route("GET", path, "media_tmp_url", Kind.DOWNLOAD, self._temporary_urls)]

    def content(self, token: str) -> tuple[str, bytes] | None:
        """Name and bytes of a file, or of a picture in a cell."""
        stored = self.files.get(token) or self._book.pictures.get(token)
        return (stored.name, stored.data) if stored is not None else None

    def _upload_all(self, request: Request) -> dict[str, Any]:
        form = parse_multipart(request.headers.get("Content-Type", ""), request.body)
        about = self._about({name: part.text for name, part in form.items() if name != "file"}, request)
        data = _file_of(form)
        if about.size > self._limits.upload_bytes:
            raise ApiError(1061043, "file too large: upload it in parts", 400)
        _check(data, about.size, form)
        return self._store(about, data)

    def _prepare(self, request: Request) -> dict[str, Any]:
        about = self._about(request.json(1061002), request)
        with self._lock:
            upload_id = f"standinUpload{len(self._uploads) + 1:05d}"
            upload = self._uploads[upload_id] = _Upload(
                about, self._clock() + UPLOAD_LIFETIME, self._limits.block_bytes
            )
        return {"upload_id": upload_id, "block_size": upload.block_bytes, "block_num": upload.block_num}

    def _part(self, request: Request) -> dict[str, Any]:
        form = parse_multipart(request.headers.get("Content-Type", ""), request.body)
        upload = self._upload(form["upload_id"].text if "upload_id" in form else "")
        seq, size = _number(form, "seq"), _number(form, "size")
        if not 0 <= seq < upload.block_num:
            raise ApiError(1062011, "block number out of bounds", 400)
        data = _file_of(form)
        _check(data, size, form)
        if size != upload.block_size(seq):
            raise ApiError(1062009, "size mismatch", 400)
        upload.blocks[seq] = data
        return {}

    def _finish(self, request: Request) -> dict[str, Any]:
        asked = request.json(1061002)
        upload = self._upload(str(asked.get("upload_id")))
        if asked.get("block_num") != upload.block_num:
            raise ApiError(1061002, "params error: block_num", 400)
        if len(upload.blocks) < upload.block_num:
            raise ApiError(1062010, "block missing", 400)
        data = b"".join(upload.blocks[seq] for seq in range(upload.block_num))
        stored = self._store(upload.about, data)
        with self._lock:
            self._uploads[str(asked["upload_id"])].expires = 0.0
        return stored

    def _download(self, request: Request) -> Answer:
        found = self.content(request.params["token"])
        if found is None:
            raise ApiError(1061003, "not found.", 404)
        name, data = found
        data = _written_anew(data) if self._switches.downloads == "written anew" else data
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}", "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        if wanted is None:
            return Answer(200, data, "application/octet-stream", headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        if first > last:
            return Answer(416, b"", "application/octet-stream", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Answer(206, data[first : last + 1], "application/octet-stream", headers)

    def _temporary_urls(self, request: Request) -> dict[str, Any]:
        tokens = request.queries("file_tokens")
        if not tokens or any(self.content(token) is None for token in tokens):
            raise ApiError(1061003, "not found.", 404)
        url = f"{self._book.base_url}/_standin/picture"
        return {"tmp_download_urls": [{"file_token": token, "tmp_download_url": f"{url}/{token}"} for token in tokens]}

    def _list(self, request: Request) -> dict[str, Any]:
        """A page of a folder; all its files were created in order, and nobody edits them."""
        folder, size = request.query("folder_token"), int(request.query("page_size", "100"))
        if folder not in self.folders:
            raise ApiError(1061003, "not found.", 404)
        if not 1 <= size <= 200:
            raise ApiError(1064001, "page size out of limit.", 400)
        with self._lock:
            files = [file for file in self.files.values() if file.parent_node == folder]
        if request.query("direction", "DESC") == "DESC":
            files.reverse()
        first = int(request.query("page_token", "0"))
        page = [self._listed(file) for file in files[first : first + size]]
        more = first + size < len(files)
        return {"files": page, "has_more": more, **({"next_page_token": str(first + size)} if more else {})}

    def _listed(self, file: StoredFile) -> dict[str, Any]:
        times = {"created_time": str(int(file.at)), "modified_time": str(int(file.at)), "owner_id": "ou_standin_app"}
        about = {"token": file.token, "name": file.name, "type": "file", "parent_token": file.parent_node}
        return {**about, **times, "url": f"{self._book.base_url}/file/{file.token}"}

    def _metas(self, request: Request) -> dict[str, Any]:
        """Title and address of files; what cannot be told stands in `failed_list`, and the call succeeds."""
        asked = request.json(1061002)
        documents = asked.get("request_docs")
        if not isinstance(documents, list) or not 1 <= len(documents) <= 200:
            raise ApiError(1061002, "params error: request_docs", 400)
        metas, failed = [], []
        for document in documents:
            token, kind = str(document.get("doc_token")), document.get("doc_type")
            stored = self.files.get(token)
            if kind != "file":
                failed.append({"token": token, "code": 970002})
            elif stored is None or stored.parent_type != "explorer":
                failed.append({"token": token, "code": 970005})
            elif not self._switches.folder_access:
                failed.append({"token": token, "code": 970003})
            else:
                metas.append(self._meta(stored, with_url=asked.get("with_url") is True))
        return {"metas": metas, **({"failed_list": failed} if failed else {})}

    def _meta(self, stored: StoredFile, *, with_url: bool) -> dict[str, Any]:
        times = {"create_time": str(int(stored.at)), "latest_modify_time": str(int(stored.at))}
        people = {"owner_id": "ou_standin_app", "latest_modify_user": "ou_standin_app"}
        url = {"url": f"{self._book.base_url}/file/{stored.token}"} if with_url else {}
        return {"doc_token": stored.token, "doc_type": "file", "title": stored.name, **people, **times, **url}

    def _about(self, fields: dict[str, Any], request: Request) -> _About:
        """The checked description of an upload."""
        name, kind, node = (str(fields.get(key) or "") for key in ("file_name", "parent_type", "parent_node"))
        try:
            size = int(str(fields.get("size")))
        except ValueError:
            raise ApiError(1061002, "params error: size", 400) from None
        if not 1 <= len(name) <= 250:
            raise ApiError(1061008, "invalid file name", 400)
        media = "/medias/" in request.path
        known = kind in _PARENTS if media else kind == "explorer"
        # An empty file is refused, as the page says.
        if not known or size < 1:
            raise ApiError(1061002, "params error: parent_type or size", 400)
        there = node == self._parents.get(kind.partition("_")[0], node) if media else node in self.folders
        if not node or not there:
            raise ApiError(1061044, "parent node not exist", 400)
        if not media and sum(file.parent_node == node for file in self.files.values()) >= self._limits.folder_entries:
            raise ApiError(1062507, "parent node out of sibling num", 400)
        return _About(name, kind, node, size)

    def _upload(self, upload_id: str) -> _Upload:
        with self._lock:
            upload = self._uploads.get(upload_id)
        if upload is None or upload.expires <= self._clock():
            raise ApiError(1061021, "upload id expired", 400)
        return upload

    def _store(self, about: _About, data: bytes) -> dict[str, Any]:
        with self._lock:
            token = f"standinFile{len(self.files) + 1:05d}"
            self.files[token] = StoredFile(
                token, about.file_name, about.parent_type, about.parent_node, self._clock(), data
            )
        return {"file_token": token}


def _number(form: dict[str, Part], name: str) -> int:
    try:
        return int(form[name].text)
    except (KeyError, ValueError):
        raise ApiError(1061002, f"params error: {name}", 400) from None


def _written_anew(data: bytes) -> bytes:
    """A PNG with one more remark before its end, which changes no pixel; any other file as it is."""
    end = data.rfind(b"IEND") - 4
    if not data.startswith(_PNG) or end < len(_PNG):
        return data
    remark = b"tEXtComment\0written anew"
    chunk = (len(remark) - 4).to_bytes(4, "big") + remark + zlib.crc32(remark).to_bytes(4, "big")
    return data[:end] + chunk + data[end:]


def _file_of(form: dict[str, Part]) -> bytes:
    if "file" not in form:
        raise ApiError(1061002, "params error: file", 400)
    return form["file"].data


def _check(data: bytes, size: int, form: dict[str, Part]) -> None:
    if len(data) != size:
        raise ApiError(1062009, "size mismatch", 400)
    # The SDK sends an empty part where no checksum was given.
    checksum = form["checksum"].text if "checksum" in form else ""
    if checksum and checksum != str(zlib.adler32(data)):
        raise ApiError(1062008, "checksum invalid", 400)


class WikiApi:
    """A spreadsheet that lives in a wiki is found by its node."""

    def __init__(self, node_token: str, book: Spreadsheet) -> None:
        self._node_token = node_token
        self._book = book

    def routes(self) -> list[Route]:
        return [Route("GET", "/open-apis/wiki/v2/spaces/get_node", "wiki_get_node", Kind.OTHER, self._get_node)]

    def _get_node(self, request: Request) -> dict[str, Any]:
        if request.query("token") != self._node_token:
            raise ApiError(131005, "node not found", 400)
        return {"node": {"node_token": self._node_token, "obj_type": "sheet", "obj_token": self._book.token}}
