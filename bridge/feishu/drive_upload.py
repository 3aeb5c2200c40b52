"""Videos into a folder of Feishu's Drive, so that a cell can link to them: a cell itself takes no video.

A file goes whole or in parts, and each step is noted: an upload goes on where it stopped, also after a restart.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ..settings import Settings
from ..wording import Wording
from .drive_calls import DriveCalls, Pace, Sdk, built, imported
from .drive_progress import Progress, Source, source_of
from .errors import FeishuError, Reach, Remedy, lacking

#: Larger files go in parts.
WHOLE_FILE_BYTES: Final = 20 * 1024 * 1024

_UPLOAD_GONE: Final = 1061021
_BLOCK_MISSING: Final = 1062010
#: checksum or size: the file is read again
_SPOILT: Final = frozenset({1062008, 1062009})

#: Feishu counts by app, so all uploads of this process go one after the other.
_ONE_AT_A_TIME: Final = threading.Lock()
_PACE: Final = Pace()


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
        self._settings = settings
        self._calls = DriveCalls(settings, token, drop_token, pace)

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
                reach=Reach.COLUMN,
            )
        imported()
        with _ONE_AT_A_TIME:
            source = source_of(path, name, self._settings.video_folder_token, state, store)
            if not source.progress.file_token:
                self._bring(source)
            if not source.progress.url:
                source.keep(url=self._address(source.progress.file_token))
            return source.progress.url

    def _bring(self, source: Source) -> None:
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

    def _send(self, source: Source) -> None:
        if source.progress.size <= WHOLE_FILE_BYTES and not source.progress.upload_id:
            try:
                self._send_whole(source)
            except FeishuError as error:
                if error.remedy is not Remedy.SPLIT:
                    raise
            else:
                return
        self._send_parts(source)

    # ------------------------------------------------------------------ the calls

    def _send_whole(self, source: Source) -> None:
        content = source.read(0, source.progress.size)
        about = {**self._about(source.progress), **_file_part(content)}

        def send(sdk: Sdk) -> Any:
            body = built(sdk.models.UploadAllFileRequestBody, **about)
            return sdk.drive.file.upload_all(built(sdk.models.UploadAllFileRequest, request_body=body), sdk.option)

        self._make_file(source, send)

    def _send_parts(self, source: Source) -> None:
        if not source.progress.upload_id:
            source.keep(**self._prepare(source.progress))
        progress = source.progress
        for number in range(progress.parts, progress.block_num):
            start = number * progress.block_size
            block = source.read(start, min(progress.block_size, progress.size - start))
            self._send_part(progress.upload_id, number, block)
            source.keep(parts=number + 1)

        def send(sdk: Sdk) -> Any:
            named = {"upload_id": progress.upload_id, "block_num": progress.block_num}
            body = built(sdk.models.UploadFinishFileRequestBody, **named)
            request = built(sdk.models.UploadFinishFileRequest, request_body=body)
            return sdk.drive.file.upload_finish(request, sdk.option)

        self._make_file(source, send)

    def _prepare(self, progress: Progress) -> dict[str, Any]:
        def send(sdk: Sdk) -> Any:
            body = built(sdk.models.FileUploadInfo, **self._about(progress))
            request = built(sdk.models.UploadPrepareFileRequest, request_body=body)
            return sdk.drive.file.upload_prepare(request, sdk.option)

        data = self._calls.paced(send)
        try:
            size, number = int(data["block_size"]), int(data["block_num"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise lacking("upload_prepare") from None
        if not data.get("upload_id") or not (number - 1) * size < progress.size <= number * size:
            raise lacking("upload_prepare")
        return {"upload_id": str(data["upload_id"]), "block_size": size, "block_num": number, "parts": 0}

    def _send_part(self, upload_id: str, number: int, block: bytes) -> None:
        def send(sdk: Sdk) -> Any:
            part = {"upload_id": upload_id, "seq": number, "size": len(block), **_file_part(block)}
            body = built(sdk.models.UploadPartFileRequestBody, **part)
            return sdk.drive.file.upload_part(built(sdk.models.UploadPartFileRequest, request_body=body), sdk.option)

        self._calls.paced(send)

    def _make_file(self, source: Source, send: Callable[[Sdk], Any]) -> None:
        """Send the call that makes the file, and note its token. It may be there even if no answer comes."""
        source.keep(sending=True)
        try:
            data = self._calls.paced(send)
        except FeishuError as error:
            if not error.outcome_unknown and error.status < 500:
                source.keep(sending=False)
            raise
        token = data.get("file_token")
        if not isinstance(token, str) or not token:
            raise lacking("upload")
        source.keep(sending=False, file_token=token)

    def _about(self, progress: Progress) -> dict[str, Any]:
        place = {"parent_type": "explorer", "parent_node": self._settings.video_folder_token}
        return {"file_name": progress.name, "size": progress.size, **place}

    def _in_folder(self, progress: Progress) -> str:
        """The token of our file, if the folder has it already: the answer to its upload was lost. The mark in its
        name tells it from other videos and other versions."""

        def send(sdk: Sdk) -> Any:
            asked = {"folder_token": self._settings.video_folder_token, "page_size": 50}
            newest_first = {"order_by": "CreatedTime", "direction": "DESC"}
            return sdk.drive.file.list(built(sdk.models.ListFileRequest, **asked, **newest_first), sdk.option)

        try:
            files = self._calls.call(send).get("files") or ()
        except FeishuError as error:
            if error.remedy is not Remedy.FINAL:
                raise
            return ""  # the app may write, but not look: a second copy does no harm
        ours = [file for file in files if (file.get("name"), file.get("type")) == (progress.name, "file")]
        return str(ours[0].get("token") or "") if ours else ""

    def _address(self, file_token: str) -> str:
        """Where a person opens the file: as Feishu tells, else in the form that its documentation shows."""

        def send(sdk: Sdk) -> Any:
            document = built(sdk.models.RequestDoc, doc_token=file_token, doc_type="file")
            body = built(sdk.models.MetaRequest, request_docs=[document], with_url=True)
            return sdk.drive.meta.batch_query(built(sdk.models.BatchQueryMetaRequest, request_body=body), sdk.option)

        try:
            metas = self._calls.call(send).get("metas") or ()
        except FeishuError as error:
            if error.remedy is not Remedy.FINAL:
                raise
            metas = ()  # a scope of its own, which an app for uploads need not have
        url = next((meta.get("url") for meta in metas if meta.get("doc_token") == file_token), None)
        if isinstance(url, str) and url.startswith(("https://", "http://")):
            return url
        return documented_address(self._settings.feishu_domain, file_token)


def documented_address(domain: str, file_token: str) -> str:
    """Where a file of Drive opens for a person, by the examples in Feishu's documentation; no tenant is named."""
    return f"{domain.replace('://open.', '://')}/file/{file_token}"


def _file_part(content: bytes) -> dict[str, Any]:
    """The fields of a form for these bytes. As a tuple: the SDK would send bare bytes as the text b'…'."""
    return {"checksum": str(zlib.adler32(content)), "file": ("video", content, "application/octet-stream")}
