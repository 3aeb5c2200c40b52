"""A bitable (多维表格) in the stand-in: one table, and the call that updates records."""

from __future__ import annotations

import threading
from typing import Any, Final

from .drive_api import DriveApi
from .switches import Limits
from .wire import ApiError, Kind, Request, Route

__all__ = ["BitableApi"]

_PATH: Final = "/open-apis/bitable/v1/apps/:app/tables/:table/records/batch_update"
_SCOPES: Final = ("bitable:app", "base:record:update")


class BitableApi:
    """Records by their id, each with its fields by name."""

    def __init__(self, app_token: str, drive: DriveApi, limits: Limits) -> None:
        self.app_token = app_token
        self.table_id = "tblstandin"
        self.fields = ("状态", "附件", "链接")
        self.records: dict[str, dict[str, Any]] = {f"recstandin{number}": {} for number in range(1, 4)}
        self._drive = drive
        self._limits = limits
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        return [Route("POST", _PATH, "records_batch_update", Kind.TABLE, self._batch_update, _SCOPES)]

    def _batch_update(self, request: Request) -> dict[str, Any]:
        if request.params["app"] != self.app_token:
            raise ApiError(1254040, "BaseTokenNotFound")
        if request.params["table"] != self.table_id:
            raise ApiError(1254041, "TableIdNotFound")
        changes = request.json(1254001).get("records")
        if not isinstance(changes, list) or not changes:
            raise ApiError(1254001, "WrongRequestBody")
        if len(changes) > self._limits.table_records:
            raise ApiError(1254104, "RecordAddOnceExceedLimit")
        with self._lock:
            for change in changes:
                self._check(change)
            for change in changes:
                self.records[change["record_id"]].update(change["fields"])
        return {"records": changes}

    def _check(self, change: dict[str, Any]) -> None:
        if change.get("record_id") not in self.records:
            raise ApiError(1254043, "RecordIdNotFound")
        for name, value in change.get("fields", {}).items():
            if name not in self.fields:
                raise ApiError(1254045, "FieldNameNotFound")
            if name == "附件":
                self._check_attachments(value)

    def _check_attachments(self, attachments: Any) -> None:
        if not isinstance(attachments, list):
            raise ApiError(1254069, "AttachFieldConvFail")
        for attachment in attachments:
            stored = self._drive.files.get(str(attachment.get("file_token")))
            if stored is None or stored.parent_node != self.app_token:
                raise ApiError(1254303, "AttachPermNotAllow", 403)
