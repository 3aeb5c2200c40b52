"""Videos into a folder of Feishu's Drive, so that a cell can link to them: a cell itself takes no video.

Uses Feishu's SDK (`lark-oapi`, optional), which is imported at the first upload: that costs 2 s and 160 MB.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import requests

from ..redact import redact
from ..settings import Settings
from ..wording import Wording
from .errors import ADVICE, FeishuError, Remedy, answered

#: Larger files go in parts.
WHOLE_FILE_BYTES: Final = 20 * 1024 * 1024
#: Seconds from one upload call to the next; Feishu takes five a second, one after the other.
GAP: Final = 0.25
#: Seconds without a byte.
TIMEOUT: Final = 60.0
MAX_NAME: Final = 250

_UPLOAD_GONE: Final = 1061021
_BLOCK_MISSING: Final = 1062010
#: checksum or size: the file is read again
_SPOILT: Final = frozenset({1062008, 1062009})
_ADVICE: Final[Mapping[int, Wording]] = {
    **ADVICE,
    **dict.fromkeys(
        (1061003, 1061004, 1061007, 1061041, 1061044),
        Wording(
            "the folder that WFRECOVERY_VIDEO_FOLDER names must be shared with the app, with the right to edit: "
            "put the app's bot into a group and share the folder with that group",
            "请把 WFRECOVERY_VIDEO_FOLDER 指定的文件夹共享给该应用并给编辑权限：把应用的机器人加进一个群，"
            "再把文件夹共享给这个群",
        ),
    ),
    1062507: Wording(
        "the folder holds 1,500 files, more do not fit: let WFRECOVERY_VIDEO_FOLDER name another one",
        "文件夹里已有 1500 个文件，放不下了：请让 WFRECOVERY_VIDEO_FOLDER 指定另一个文件夹",
    ),
}


class Pace:
    """Keeps the calls of one kind apart. Not for several threads at once."""

    def __init__(
        self,
        gap: float = GAP,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap, self._clock, self._sleep = gap, clock, sleep
        self._next = clock()

    def wait(self) -> None:
        """Until the next call may go."""
        pause = self._next - self._clock()
        if pause > 0:
            self._sleep(pause)
        self._next = self._clock() + self._gap


#: Feishu counts by app, so all uploads of this process go one after the other.
_ONE_AT_A_TIME: Final = threading.Lock()
_PACE: Final = Pace()


@dataclass(frozen=True)
class _Progress:
    """How far an upload has come; what the caller keeps of it survives the process."""

    #: of which file, under which name, into which folder (a digest): another one starts anew
    size: int
    mtime_ns: int
    name: str
    folder: str
    upload_id: str = ""
    block_size: int = 0
    block_num: int = 0
    #: so many parts have arrived, from the first
    parts: int = 0
    #: the call that makes the file was sent; without an answer, the file may be there
    sending: bool = False
    file_token: str = ""
    url: str = ""

    def resumed(self, state: Mapping[str, Any]) -> _Progress:
        """As kept in `state`, if that is about the same file."""
        kept = {item.name: state[item.name] for item in dataclasses.fields(self) if item.name in state}
        if any(type(value) is not type(getattr(self, name)) for name, value in kept.items()):
            return self
        about = ("size", "mtime_ns", "name", "folder")
        if any(kept.get(name) != getattr(self, name) for name in about):
            return self
        resumed = replace(self, **kept)
        planned = resumed.block_size > 0 and resumed.block_num > 0 and 0 <= resumed.parts <= resumed.block_num
        return resumed if planned or not resumed.upload_id else self

    def anew(self) -> _Progress:
        """Back to the beginning of the same file."""
        return _Progress(self.size, self.mtime_ns, self.name, self.folder)


@dataclass
class _Source:
    """A file while it is uploaded, and what is known of its upload."""

    path: Path
    progress: _Progress
    store: Callable[[dict[str, Any]], None] = field(repr=False)

    def keep(self, **changes: Any) -> None:
        """Note what has happened, and have it stored."""
        self.progress = replace(self.progress, **changes)
        self.store(vars(self.progress).copy())

    def read(self, start: int, size: int) -> bytes:
        """A piece of the file; raises FeishuError if it is no longer what it was."""
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                piece = file.read(size)
            same = _same_file(self.path, self.progress)
        except OSError as error:
            raise _not_readable(self.path, error) from error
        if len(piece) < size or not same:
            raise FeishuError(
                Wording(
                    f"{self.path.name} changed while it was uploaded; the upload starts anew",
                    f"上传时 {self.path.name} 有变化；会重新上传",
                )
            )
        return piece


@dataclass(frozen=True)
class _Sdk:
    """What one call needs of the SDK: its classes, its Drive, and the token. Each of them serves one call only."""

    models: Any
    drive: Any
    option: Any


class DriveUploader:
    """Brings a video into the folder that the settings name, and tells its address.

    `token` gives a tenant access token, `drop_token` is told one that Feishu calls invalid. Every method raises
    FeishuError; nothing waits and tries again, except once with a fresh token: the caller decides how long to wait.
    """

    def __init__(
        self,
        settings: Settings,
        token: Callable[[], str],
        drop_token: Callable[[str], None],
        *,
        pace: Pace = _PACE,
    ) -> None:
        self._settings, self._token, self._drop_token, self._pace = settings, token, drop_token, pace
        self._client: Any = None

    def upload(self, path: Path, name: str, state: Mapping[str, Any], store: Callable[[dict[str, Any]], None]) -> str:
        """The address of the video `path` in Drive, where it is called `name` with a mark; uploads what is not there.

        `state` is what `store` was given last for this video (at first an empty mapping), so that an upload goes on
        where it stopped, also after a restart. `store` is called after each step.
        """
        if not self._settings.video_folder_token:
            raise FeishuError(
                Wording(
                    "WFRECOVERY_VIDEO_FOLDER is not set: it names the folder in Feishu's Drive for the videos",
                    "还没有设置 WFRECOVERY_VIDEO_FOLDER：它指定飞书云空间里放视频的文件夹",
                ),
                remedy=Remedy.FINAL,
            )
        _imported()
        with _ONE_AT_A_TIME:
            source = self._source(path, name, state, store)
            if not source.progress.file_token:
                self._bring(source)
            if not source.progress.url:
                source.keep(url=self._address(source.progress.file_token))
            return source.progress.url

    def _source(
        self, path: Path, name: str, state: Mapping[str, Any], store: Callable[[dict[str, Any]], None]
    ) -> _Source:
        try:
            found = path.stat()
        except OSError as error:
            raise _not_readable(path, error) from error
        folder = hashlib.sha256(self._settings.video_folder_token.encode()).hexdigest()[:12]
        progress = _Progress(
            found.st_size, found.st_mtime_ns, _name_in_drive(name, f"{found.st_size} {found.st_mtime_ns}"), folder
        ).resumed(state)
        if not progress.size:
            raise FeishuError(
                Wording(f"{path.name} is empty; Feishu takes no empty file", f"{path.name} 是空文件，飞书不接受空文件"),
                remedy=Remedy.FINAL,
            )
        return _Source(path, progress, store)

    def _bring(self, source: _Source) -> None:
        """The file into the folder. What Feishu has lost is sent again, once."""
        if source.progress.sending and (there := self._in_folder(source.progress)):
            source.keep(sending=False, file_token=there)
            return
        try:
            self._send(source)
        except FeishuError as error:
            if error.code == _UPLOAD_GONE:
                source.keep(**vars(source.progress.anew()))
            elif error.code == _BLOCK_MISSING:
                source.keep(parts=0)
            elif error.code not in _SPOILT:
                raise
            self._send(source)

    def _send(self, source: _Source) -> None:
        if source.progress.size <= WHOLE_FILE_BYTES:
            self._send_whole(source)
        else:
            self._send_parts(source)

    # ------------------------------------------------------------------ the calls

    def _send_whole(self, source: _Source) -> None:
        content = source.read(0, source.progress.size)
        about = {**self._about(source.progress), **_file_part(content)}

        def send(sdk: _Sdk) -> Any:
            body = _built(sdk.models.UploadAllFileRequestBody, **about)
            return sdk.drive.file.upload_all(_built(sdk.models.UploadAllFileRequest, request_body=body), sdk.option)

        self._make_file(source, send)

    def _send_parts(self, source: _Source) -> None:
        if not source.progress.upload_id:
            source.keep(**self._prepare(source.progress))
        progress = source.progress
        for number in range(progress.parts, progress.block_num):
            start = number * progress.block_size
            block = source.read(start, min(progress.block_size, progress.size - start))
            self._send_part(progress.upload_id, number, block)
            source.keep(parts=number + 1)

        def send(sdk: _Sdk) -> Any:
            named = {"upload_id": progress.upload_id, "block_num": progress.block_num}
            body = _built(sdk.models.UploadFinishFileRequestBody, **named)
            request = _built(sdk.models.UploadFinishFileRequest, request_body=body)
            return sdk.drive.file.upload_finish(request, sdk.option)

        self._make_file(source, send)

    def _prepare(self, progress: _Progress) -> dict[str, Any]:
        def send(sdk: _Sdk) -> Any:
            body = _built(sdk.models.FileUploadInfo, **self._about(progress))
            request = _built(sdk.models.UploadPrepareFileRequest, request_body=body)
            return sdk.drive.file.upload_prepare(request, sdk.option)

        data = self._paced(send)
        try:
            sizes = {name: int(data[name]) for name in ("block_size", "block_num")}
            return {"upload_id": str(data["upload_id"]), **sizes, "parts": 0}
        except (KeyError, TypeError, ValueError):
            raise _strange("upload_prepare") from None

    def _send_part(self, upload_id: str, number: int, block: bytes) -> None:
        def send(sdk: _Sdk) -> Any:
            part = {"upload_id": upload_id, "seq": number, "size": len(block), **_file_part(block)}
            body = _built(sdk.models.UploadPartFileRequestBody, **part)
            return sdk.drive.file.upload_part(_built(sdk.models.UploadPartFileRequest, request_body=body), sdk.option)

        self._paced(send)

    def _make_file(self, source: _Source, send: Callable[[_Sdk], Any]) -> None:
        """Send the call that makes the file, and note its token. It may be there even if no answer comes."""
        source.keep(sending=True)
        try:
            data = self._paced(send)
        except FeishuError as error:
            if not error.outcome_unknown and error.status < 500:
                source.keep(sending=False)
            raise
        if not data.get("file_token"):
            raise _strange("upload")
        source.keep(sending=False, file_token=str(data["file_token"]))

    def _about(self, progress: _Progress) -> dict[str, Any]:
        place = {"parent_type": "explorer", "parent_node": self._settings.video_folder_token}
        return {"file_name": progress.name, "size": progress.size, **place}

    def _in_folder(self, progress: _Progress) -> str:
        """The token of our file, if the folder has it already: the answer to its upload was lost. The mark in its
        name tells it from other videos and other versions."""

        def send(sdk: _Sdk) -> Any:
            asked = {"folder_token": self._settings.video_folder_token, "page_size": 50}
            newest_first = {"order_by": "CreatedTime", "direction": "DESC"}
            return sdk.drive.file.list(_built(sdk.models.ListFileRequest, **asked, **newest_first), sdk.option)

        try:
            files = self._call(send).get("files") or ()
        except FeishuError as error:
            if error.remedy is not Remedy.FINAL:
                raise
            return ""  # the app may write, but not look: a second copy does no harm
        ours = [file for file in files if (file.get("name"), file.get("type")) == (progress.name, "file")]
        return str(ours[0].get("token") or "") if ours else ""

    def _address(self, file_token: str) -> str:
        """Where a person opens the file: as Feishu tells, else in the form that its documentation shows."""

        def send(sdk: _Sdk) -> Any:
            document = _built(sdk.models.RequestDoc, doc_token=file_token, doc_type="file")
            body = _built(sdk.models.MetaRequest, request_docs=[document], with_url=True)
            return sdk.drive.meta.batch_query(_built(sdk.models.BatchQueryMetaRequest, request_body=body), sdk.option)

        try:
            metas = self._call(send).get("metas") or ()
        except FeishuError as error:
            if error.remedy is not Remedy.FINAL:
                raise
            metas = ()  # a scope of its own, which an app for uploads need not have
        url = next((meta.get("url") for meta in metas if meta.get("doc_token") == file_token), None)
        return str(url or documented_address(self._settings.feishu_domain, file_token))

    # ------------------------------------------------------------------ one call

    def _paced(self, send: Callable[[_Sdk], Any]) -> dict[str, Any]:
        self._pace.wait()
        return self._call(send)

    def _call(self, send: Callable[[_Sdk], Any]) -> dict[str, Any]:
        """The data of an answer. An answer that calls the token invalid gets one more try with a new one."""
        for last_try in (False, True):
            token = self._token()
            try:
                with _transport():
                    raw = send(self._sdk(token)).raw
                return answered(raw.status_code, raw.headers, raw.content, _ADVICE)
            except FeishuError as error:
                if last_try or error.remedy is not Remedy.REFRESH:
                    hidden = (*self._settings.secrets, self._settings.video_folder_token, token)
                    raise error.reworded(partial(redact, secrets=hidden)) from error.__cause__
                self._drop_token(token)
                self._pace.wait()
        raise AssertionError("unreachable")

    def _sdk(self, token: str) -> _Sdk:
        lark = _imported()
        if self._client is None:
            given = self._settings
            builder = lark.Client.builder().app_id(given.feishu_app_id).app_secret(given.feishu_app_secret)
            try:
                builder.domain(given.feishu_domain)
            except ValueError as error:
                raise FeishuError(
                    Wording(f"FEISHU_DOMAIN: {error}", f"FEISHU_DOMAIN 不能用：{error}"), remedy=Remedy.FINAL
                ) from error
            # The token comes from us, so that there is one for all calls and an invalid one is not kept for hours.
            self._client = builder.timeout(TIMEOUT).enable_set_token(True).build()
        option = lark.RequestOption.builder().tenant_access_token(token).build()
        return _Sdk(lark.api.drive.v1, self._client.drive.v1, option)


def documented_address(domain: str, file_token: str) -> str:
    """Where a file of Drive opens for a person, by the examples in Feishu's documentation; no tenant is named."""
    return f"{domain.replace('://open.', '://')}/file/{file_token}"


def _imported() -> Any:
    """Feishu's SDK; FeishuError says how to install it where it is missing."""
    try:
        import lark_oapi  # noqa: PLC0415
    except ImportError as error:
        command = f"{sys.executable} -m pip install lark-oapi"
        raise FeishuError(
            Wording(
                f"videos go to Feishu's Drive with its SDK, which is not there ({error}) → run: {command}",
                f"上传视频到飞书云空间需要飞书 SDK，但没有安装（{error}）→ 请运行：{command}",
            ),
            remedy=Remedy.FINAL,
        ) from error
    return lark_oapi


def _built(model: Any, **fields: Any) -> Any:
    """An object of the SDK, by its builder."""
    builder = model.builder()
    for name, value in fields.items():
        builder = getattr(builder, name)(value)
    return builder.build()


@contextmanager
def _transport() -> Iterator[None]:
    """What the SDK raises where there is no answer, or none that it can read, as FeishuError."""
    try:
        yield
    except requests.ConnectTimeout as error:
        raise FeishuError(Wording("Feishu cannot be reached: no connection in time", "连不上飞书：连接超时")) from error
    except requests.RequestException as error:
        what = Wording(f"no answer from Feishu: {error}", f"飞书没有回应：{error}")
        raise FeishuError(what, outcome_unknown=True) from error
    except (ValueError, TypeError, AttributeError) as error:
        # The SDK reads the answer before we do: a gateway's page instead of JSON, or JSON of another shape.
        what = Wording(f"Feishu's answer cannot be read: {error}", f"飞书的回应无法读取：{error}")
        raise FeishuError(what, outcome_unknown=True) from error


def _same_file(path: Path, progress: _Progress) -> bool:
    found = path.stat()
    return (found.st_size, found.st_mtime_ns) == (progress.size, progress.mtime_ns)


def _not_readable(path: Path, error: OSError) -> FeishuError:
    reason = error.strerror or str(error)
    return FeishuError(
        Wording(f"{path.name} cannot be read: {reason}", f"{path.name} 无法读取：{reason}"), remedy=Remedy.FINAL
    )


def _strange(operation: str) -> FeishuError:
    return FeishuError(
        Wording(f"Feishu's answer to {operation} lacks what it should have", f"飞书对 {operation} 的回应缺少内容"),
        outcome_unknown=True,
    )


def _file_part(content: bytes) -> dict[str, Any]:
    """The fields of a form for these bytes. As a tuple: the SDK would send bare bytes as the text b'…'."""
    return {"checksum": str(zlib.adler32(content)), "file": ("video", content, "application/octet-stream")}


def _name_in_drive(name: str, version: str) -> str:
    """`name` with a mark of this version of the file before its ending, within Feishu's length."""
    ending = f"_{hashlib.sha256(version.encode()).hexdigest()[:8]}{Path(name).suffix}"
    return Path(name).stem[: MAX_NAME - len(ending)] + ending
