"""A stand-in for Feishu: a real HTTP server on loopback that answers as the documentation says, also where that hurts.

In a test::

    with FeishuStandIn([{"产品名": "杯子", "模特名": "小林", "图片是否已处理": "否"}]) as feishu:
        feishu.faults.add(Fault.RESET_AFTER, match="values_image")
        ...  # the client under test gets feishu.url as its FEISHU_DOMAIN
        assert feishu.sheet.row(2)["图片是否已处理"] == "已完成"

As a process: ``python -m wfrecovery.demo.feishu_host --port 0 --rows rows.json --state state.json``. Its page at ``/``
shows the sheet as it changes. What the service does is documented by Feishu; nothing here was tried against the
real one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from .app_api import AppApi
from .auth import TokenService
from .bitable_api import BitableApi
from .bot_api import BotApi
from .cells import CellWrite, Picture, PictureWrite, RowValues, cell_from_json, plain_text, row_from_json
from .drive_api import DriveApi, StoredFile, WikiApi
from .faults import RETRYABLE, Fault, FaultPlan, Rule
from .gate import Gate
from .server import FeishuServer
from .service import Call, FeishuService
from .sheet import DEFAULT_HEADER, Sheet, Spreadsheet
from .sheets_api import SheetsApi
from .wire import Answer, ApiError, Limits, Request, Switches, json_answer

__all__ = [
    "DEFAULT_HEADER",
    "RETRYABLE",
    "Call",
    "CellWrite",
    "Fault",
    "FaultPlan",
    "FeishuStandIn",
    "Limits",
    "Picture",
    "PictureWrite",
    "Rule",
    "Sheet",
    "Spreadsheet",
    "StoredFile",
    "Switches",
    "plain_text",
]

#: where to listen for each host that may stand in the address
HOSTS: Final = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
_PAGE: Final = Path(__file__).with_name("page.html")
_PICTURE_TYPES: Final = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif", b"BM": "image/bmp"}
#: an mp4 has its type after the length of its first box
_MP4: Final = b"ftyp"


class FeishuStandIn:
    """One tenant with one app, one spreadsheet, one bitable, one wiki node, one folder and one group with a custom bot.

    `host` is 127.0.0.1, localhost or ::1: over plain HTTP, Feishu's own SDK accepts no other.
    """

    def __init__(
        self,
        rows: Sequence[RowValues] = (),
        *,
        header: Sequence[str] = DEFAULT_HEADER,
        header_row: int = 1,
        sheet_title: str = "商品表",
        state_file: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        app_id: str = "",
        app_secret: str = "",
        spreadsheet_token: str = "",
        webhook_secret: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        name = secrets.token_hex(3)
        self.app_id = app_id or f"cli_standin_{name}"
        self.app_secret = app_secret or f"standin-secret-{name}"
        self.spreadsheet_token = spreadsheet_token or f"standinSheet{name}"
        self.wiki_token = f"standinWiki{name}"
        self.sheet_title = sheet_title
        self.webhook_secret = webhook_secret
        self.limits = Limits()
        self.switches = Switches()
        self.faults = FaultPlan()
        self.spreadsheet = Spreadsheet(self.spreadsheet_token, clock)
        self.tokens = TokenService(self.app_id, self.app_secret, clock)
        app_token = f"standinBase{name}"
        self.drive = DriveApi(self.spreadsheet, app_token, self.limits, self.switches, clock)
        self.bitable = BitableApi(app_token, self.drive, self.limits)
        self._bot = BotApi(f"standin-hook-{name}", webhook_secret, self.limits, self.switches, clock)
        self._webhook_path = f"/open-apis/bot/v2/hook/standin-hook-{name}"
        self._gate = Gate(self.tokens, self.spreadsheet_token, self.limits, self.switches, clock)
        self.service = self._assemble()
        self.spreadsheet.add_sheet(sheet_title, rows, header=header, header_row=header_row)
        self._state_file = Path(state_file) if state_file else None
        if host not in HOSTS:
            raise ValueError(f"host is one of {', '.join(HOSTS)}")
        self._host = host
        self._port = port
        self._clock = clock
        self._server: FeishuServer | None = None

    def _assemble(self) -> FeishuService:
        sheets = SheetsApi(self.spreadsheet, self.limits, self.switches)
        wiki = WikiApi(self.wiki_token, self.spreadsheet)
        app = AppApi(self.spreadsheet_token, self.switches)
        parts = (self.tokens, app, sheets, self.drive, self.bitable, wiki, self._bot)
        routes = [route for part in parts for route in part.routes()]
        return FeishuService(self._gate, self.faults, routes, sheets.half_batch)

    def start(self) -> FeishuStandIn:
        """Listen; after a `stop` on the same port as before, with everything still there."""
        self._gate.closing.clear()
        self._server = FeishuServer(HOSTS[self._host], self._port, self)
        self._port = self._server.server_port
        self.spreadsheet.base_url = self.url
        if self._state_file is not None:
            self.spreadsheet.on_change = self._save
            with self.spreadsheet.lock:
                self._save(self.spreadsheet)
        return self

    def stop(self) -> None:
        """Go off the net: connections end, new ones are refused."""
        self._gate.closing.set()
        if self._server is not None:
            self._server.close()
            self._server = None

    def __enter__(self) -> FeishuStandIn:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For FEISHU_DOMAIN. The service wants an origin without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def webhook_url(self) -> str:
        """The address of the group's custom bot."""
        return self.url + self._webhook_path

    @property
    def sheet(self) -> Sheet:
        """The first sheet."""
        return self.spreadsheet.sheets[0]

    @property
    def calls(self) -> list[Call]:
        """Every request of the API, in the order of arrival."""
        return self.service.calls

    @property
    def overlaps(self) -> int:
        """Calls that came while another one was under way, though Feishu wants them one after the other."""
        return self.service.overlaps

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What the custom bot was given."""
        return self._bot.messages

    @property
    def folder_token(self) -> str:
        """The folder in drive that the app was given."""
        return next(iter(self.drive.folders))

    @property
    def time(self) -> float:
        """What the service takes for the time."""
        return self._clock() + self.switches.date_shift

    @property
    def lowercase_headers(self) -> bool:
        return self.switches.lowercase_headers

    @property
    def connection(self) -> dict[str, str]:
        """What a client must know, as the process prints it."""
        names = ("url", "app_id", "app_secret", "spreadsheet_token", "sheet_title")
        return {name: getattr(self, name) for name in names}

    def environment(self) -> dict[str, str]:
        """The settings of wfrecovery for this stand-in, as environment variables."""
        return {
            "FEISHU_DOMAIN": self.url,
            "FEISHU_APP_ID": self.app_id,
            "FEISHU_APP_SECRET": self.app_secret,
            "FEISHU_SPREADSHEET_TOKEN": self.spreadsheet_token,
            "FEISHU_SHEET_NAME": self.sheet_title,
            "NO_PROXY": "127.0.0.1,localhost,::1",
        }

    def count(self, match: str, code: int | None = None) -> int:
        """How many calls were made to an operation such as `values_image`, with this code only if one is given."""
        return self.service.count(match, code)

    def add_sheet(self, title: str, rows: Sequence[RowValues] = (), *, header: Sequence[str] = DEFAULT_HEADER) -> Sheet:
        """One more sheet in the same spreadsheet."""
        return self.spreadsheet.add_sheet(title, rows, header=header)

    def pause(self, seconds: float) -> None:
        self._gate.pause(seconds)

    def control(self, request: Request) -> Answer:
        """The page, and the switches for whoever runs the stand-in as a process."""
        try:
            return self._control(request)
        except (KeyError, TypeError, ValueError, IndexError, ApiError) as error:
            return json_answer({"error": f"{type(error).__name__}: {error}"}, 400)

    def _control(self, request: Request) -> Answer:
        match request.method, request.segments:
            case "GET", [""] | ["sheets", _]:
                return Answer(200, _PAGE.read_bytes(), "text/html; charset=utf-8")
            case "GET", ["_standin", "sheet"]:
                return json_answer(self._sheet_of(request.query("sheet")).to_json())
            case "GET", ["_standin", "calls"]:
                counts = {"token_fetches": self.tokens.fetches, "faults": dict(self.faults.struck)}
                return json_answer({**self.service.calls_json(int(request.query("last", "0"))), **counts})
            case "GET", ["_standin", "picture", token] | ["file", token]:
                return self._picture(token)
            case "POST", ["_standin", "faults"]:
                self.faults.apply_json(request.json())
            case "POST", ["_standin", "rows"]:
                self._change_rows(request.json())
            case "POST", ["_standin", "settings"]:
                self._change_settings(request.json())
            case _:
                return json_answer({"error": "not found"}, 404)
        return json_answer({"ok": True})

    def _sheet_of(self, title: str) -> Sheet:
        sheet = self.spreadsheet.by_title(title) if title else self.sheet
        if sheet is None:
            raise KeyError(title)
        return sheet

    def _picture(self, token: str) -> Answer:
        found = self.drive.content(token)
        if found is None:
            return json_answer({"error": "not found"}, 404)
        data = found[1]
        kind = next(
            (kind for start, kind in _PICTURE_TYPES.items() if data.startswith(start)),
            "video/mp4" if data[4:8] == _MP4 else "application/octet-stream",
        )
        return Answer(200, data, kind, {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"})

    def _change_rows(self, change: dict[str, Any]) -> None:
        """{"insert": {"at", "values"}}, {"delete": n}, {"sort": title, "reverse"}, {"set": {"cell", "value"}}."""
        sheet = self._sheet_of(change.get("sheet", ""))
        if "insert" in change:
            sheet.insert_row(change["insert"]["at"], row_from_json(change["insert"].get("values", []), Path()))
        if "delete" in change:
            sheet.delete_row(change["delete"])
        if "sort" in change:
            sheet.sort(change["sort"], reverse=bool(change.get("reverse")))
        if "set" in change:
            sheet.set(change["set"]["cell"], cell_from_json(change["set"]["value"], Path()))

    def _change_settings(self, changes: dict[str, Any]) -> None:
        """{"switches": {…}, "limits": {…}}."""
        self.switches.apply_json(changes.get("switches", {}))
        known = {item.name for item in dataclasses.fields(Limits)}
        for name, value in changes.get("limits", {}).items():
            if name not in known:
                raise KeyError(name)
            setattr(self.limits, name, value)

    def _save(self, book: Spreadsheet) -> None:
        """The whole spreadsheet, replaced in one step, so that a reader never sees half of it."""
        assert self._state_file is not None
        temporary = self._state_file.with_name(f".{self._state_file.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(book.to_json(), ensure_ascii=False), encoding="utf-8")
        temporary.replace(self._state_file)
