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
from .cells import CellWrite, Choice, Formatted, Formula, Mixed, Picture, PictureWrite, RowValues, plain_text
from .control import Control
from .drive_api import DriveApi, StoredFile, WikiApi
from .faults import RETRYABLE, Fault, FaultPlan, Rule
from .gate import Gate
from .server import FeishuServer
from .service import Call, FeishuService
from .sheet import DEFAULT_HEADER, Sheet
from .sheets_api import SheetsApi
from .spreadsheet import Spreadsheet
from .switches import Limits, Switches
from .tally import Tally
from .wire import Answer, Request

__all__ = [
    "DEFAULT_HEADER",
    "RETRYABLE",
    "Call",
    "CellWrite",
    "Choice",
    "Fault",
    "FaultPlan",
    "FeishuStandIn",
    "Formatted",
    "Formula",
    "Limits",
    "Mixed",
    "Picture",
    "PictureWrite",
    "Rule",
    "Sheet",
    "Spreadsheet",
    "StoredFile",
    "Switches",
    "Tally",
    "plain_text",
]

#: where to listen for each host that may stand in the address
HOSTS: Final = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}


class FeishuStandIn:
    """One tenant with one app, one spreadsheet, one bitable, one wiki node, one folder and one group with a custom bot.

    `header_rows` is how many rows the header is high, its titles merged over all of them. `switches` may be drawn by
    chance: `Switches.drawn(random.Random(seed))`. `host` is 127.0.0.1, localhost or ::1: over plain HTTP, Feishu's own
    SDK accepts no other.
    """

    def __init__(
        self,
        rows: Sequence[RowValues] = (),
        *,
        header: Sequence[str] = DEFAULT_HEADER,
        header_row: int = 1,
        header_rows: int = 1,
        sheet_title: str = "商品表",
        state_file: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        app_id: str = "",
        app_secret: str = "",
        spreadsheet_token: str = "",
        webhook_secret: str = "",
        switches: Switches | None = None,
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
        self.switches = switches or Switches()
        self.faults = FaultPlan()
        self.spreadsheet = Spreadsheet(self.spreadsheet_token, self.switches, clock)
        self.tokens = TokenService(self.app_id, self.app_secret, self.switches, clock)
        app_token = f"standinBase{name}"
        self.drive = DriveApi(self.spreadsheet, app_token, self.limits, self.switches, clock)
        self.bitable = BitableApi(app_token, self.drive, self.limits)
        self._bot = BotApi(f"standin-hook-{name}", webhook_secret, self.limits, self.switches, clock)
        self._webhook_path = f"/open-apis/bot/v2/hook/standin-hook-{name}"
        self._gate = Gate(self.tokens, self.spreadsheet_token, self.wiki_token, self.limits, self.switches, clock)
        self.service = self._assemble()
        self._control = Control(self.spreadsheet, self.drive, self.tokens, self.service, self.limits, self.switches)
        self.spreadsheet.add_sheet(sheet_title, rows, header=header, header_row=header_row, header_rows=header_rows)
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
                self._save()
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

    def tally(self) -> Tally:
        """Count from now on: calls by operation, and pictures that were stored."""
        return Tally(self.calls, self.spreadsheet.pictures)

    def add_sheet(self, title: str, rows: Sequence[RowValues] = (), *, header: Sequence[str] = DEFAULT_HEADER) -> Sheet:
        """One more sheet in the same spreadsheet."""
        return self.spreadsheet.add_sheet(title, rows, header=header)

    def pause(self, seconds: float) -> None:
        self._gate.pause(seconds)

    def control(self, request: Request) -> Answer:
        """The page, and the switches for whoever runs the stand-in as a process."""
        return self._control.answer(request)

    def _save(self) -> None:
        """The whole spreadsheet, replaced in one step, so that a reader never sees half of it."""
        assert self._state_file is not None
        temporary = self._state_file.with_name(f".{self._state_file.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self.spreadsheet.to_json(), ensure_ascii=False), encoding="utf-8")
        temporary.replace(self._state_file)
