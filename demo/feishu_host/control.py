"""The stand-in's own HTTP: its page, and what a test does by a method, for whoever runs it as a process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from .auth import TokenService
from .cells import cell_from_json, row_from_json
from .drive_api import DriveApi
from .service import FeishuService
from .sheet import Sheet
from .spreadsheet import Spreadsheet
from .switches import Limits, Switches
from .wire import Answer, ApiError, Request, json_answer

__all__ = ["Control"]

_PAGE: Final = Path(__file__).with_name("page.html")
_PICTURE_TYPES: Final = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif", b"BM": "image/bmp"}
#: an mp4 has its type after the length of its first box
_MP4: Final = b"ftyp"


class Control:
    """Everything below `/_standin`, the page, and what its links lead to."""

    def __init__(
        self,
        book: Spreadsheet,
        drive: DriveApi,
        tokens: TokenService,
        service: FeishuService,
        limits: Limits,
        switches: Switches,
    ) -> None:
        self._book = book
        self._drive = drive
        self._tokens = tokens
        self._service = service
        self._limits = limits
        self._switches = switches

    def answer(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except (KeyError, TypeError, ValueError, IndexError, ApiError) as error:
            return json_answer({"error": f"{type(error).__name__}: {error}"}, 400)

    def _answer(self, request: Request) -> Answer:
        match request.method, request.segments:
            case "GET", [""] | ["sheets", _]:
                return Answer(200, _PAGE.read_bytes(), "text/html; charset=utf-8")
            case "GET", ["_standin", "sheet"]:
                return json_answer(self._sheet(request.query("sheet")).to_json())
            case "GET", ["_standin", "calls"]:
                return json_answer(self._calls(int(request.query("last", "0"))))
            case "GET", ["_standin", "settings"]:
                return json_answer({"switches": self._switches.to_json(), "limits": vars(self._limits)})
            case "GET", ["_standin", "picture", token] | ["file", token]:
                return self._picture(token)
            case "POST", ["_standin", "faults"]:
                self._service.faults.apply_json(request.json())
            case "POST", ["_standin", "rows"]:
                self._change_rows(request.json())
            case "POST", ["_standin", "settings"]:
                self._change_settings(request.json())
            case _:
                return json_answer({"error": "not found"}, 404)
        return json_answer({"ok": True})

    def _calls(self, last: int) -> dict[str, Any]:
        return {
            **self._service.calls_json(last),
            "by_operation": Counter(call.operation for call in list(self._service.calls)),
            "pictures": len(self._book.pictures),
            "token_fetches": self._tokens.fetches,
            "faults": dict(self._service.faults.struck),
        }

    def _sheet(self, title: str) -> Sheet:
        sheet = self._book.by_title(title) if title else self._book.sheets[0]
        if sheet is None:
            raise KeyError(title)
        return sheet

    def _picture(self, token: str) -> Answer:
        found = self._drive.content(token)
        if found is None:
            return json_answer({"error": "not found"}, 404)
        data = found[1]
        kind = next(
            (kind for start, kind in _PICTURE_TYPES.items() if data.startswith(start)),
            "video/mp4" if data[4:8] == _MP4 else "application/octet-stream",
        )
        return Answer(200, data, kind, {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"})

    def _change_rows(self, change: dict[str, Any]) -> None:
        """{"insert": {"at", "values"}}, {"delete": n}, {"sort": title, "reverse"}, {"set": {"cell", "value"}},
        {"insert_column": {"at", "title"}}, {"delete_column": letters}, {"move_column": {"from", "to"}},
        {"merge": range}, {"protect": range or ""}, {"unprotect": true}, {"drop_down": range, "several"}."""
        sheet = self._sheet(change.get("sheet", ""))
        if "insert" in change:
            sheet.insert_row(change["insert"]["at"], row_from_json(change["insert"].get("values", []), Path()))
        if "delete" in change:
            sheet.delete_row(change["delete"])
        if "sort" in change:
            sheet.sort(change["sort"], reverse=bool(change.get("reverse")))
        if "insert_column" in change:
            sheet.insert_column(change["insert_column"]["at"], change["insert_column"].get("title", ""))
        if "delete_column" in change:
            sheet.delete_column(change["delete_column"])
        if "move_column" in change:
            sheet.move_column(change["move_column"]["from"], change["move_column"]["to"])
        if "set" in change:
            sheet.set(change["set"]["cell"], cell_from_json(change["set"]["value"], Path()))
        if "merge" in change:
            sheet.merge(change["merge"])
        if "unprotect" in change:
            sheet.unprotect()
        if "protect" in change:
            sheet.protect(change["protect"])
        if "drop_down" in change:
            sheet.drop_down(change["drop_down"], several=bool(change.get("several")))

    def _change_settings(self, changes: dict[str, Any]) -> None:
        """{"draw": {"seed", "harsh"}, "switches": {…}, "limits": {…}}; what is drawn comes first."""
        if "draw" in changes:
            drawn = changes["draw"]
            self._switches.become(Switches.drawn(Random(drawn["seed"]), harsh=bool(drawn.get("harsh"))))
        self._switches.apply_json(changes.get("switches", {}))
        self._limits.apply_json(changes.get("limits", {}))
