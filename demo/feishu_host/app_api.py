"""What the stand-in tells an app about itself: the scopes it was granted, and what it may do with a document."""

from __future__ import annotations

from typing import Any, Final

from .switches import Switches
from .wire import ApiError, Kind, Request, Route

__all__ = ["AppApi"]

#: what an app of the demo needs; listed as not granted where the switch leaves them out
_ASKED_FOR: Final = ("sheets:spreadsheet", "sheets:spreadsheet:readonly", "drive:drive", "drive:file:upload")
_AUTH_SCOPES: Final = (
    "bitable:app",
    "docs:doc",
    "docs:permission.member:auth",
    "drive:drive",
    "sheets:spreadsheet",
    "wiki:wiki",
)
_READING: Final = frozenset({"view"})
_EDITING: Final = frozenset({"edit", "share", "comment", "export", "copy", "print", "manage_public"})
_TYPES: Final = frozenset({"doc", "sheet", "file", "wiki", "bitable", "docx", "mindnote", "minutes", "slides"})


class AppApi:
    """`application/v6/scopes` and `drive/v1/permissions/:token/members/auth`."""

    def __init__(self, spreadsheet_token: str, switches: Switches) -> None:
        self._spreadsheet_token = spreadsheet_token
        self._switches = switches

    def routes(self) -> list[Route]:
        path = "/open-apis/drive/v1/permissions/:token/members/auth"
        return [
            Route("GET", "/open-apis/application/v6/scopes", "app_scopes", Kind.OTHER, self._scopes),
            Route("GET", path, "members_auth", Kind.OTHER, self._auth, _AUTH_SCOPES),
        ]

    def _scopes(self, request: Request) -> dict[str, Any]:
        granted = self._switches.scopes
        names = sorted({*_ASKED_FOR, *(granted or ())})
        return {
            "scopes": [
                {
                    "scope_name": name,
                    "scope_type": "tenant",
                    "grant_status": 1 if granted is None or name in granted else 2,
                }
                for name in names
            ]
        }

    def _auth(self, request: Request) -> dict[str, Any]:
        kind, action = request.query("type"), request.query("action")
        if kind not in _TYPES or action not in _READING | _EDITING:
            raise ApiError(1063001, "Invalid parameter", 400)
        if kind != "sheet" or request.params["token"] != self._spreadsheet_token:
            raise ApiError(1063001, "Invalid parameter", 400)  # the token is of another kind, or of nothing
        enough = {"view", "edit"} if action in _READING else {"edit"}
        return {"auth_result": self._switches.document_access in enough}
