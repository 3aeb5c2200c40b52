"""Feishu's sheets over HTTP: one kept-alive session, one token, every answer's `code` looked at.

The SDK has none of the v2 sheet calls and costs 2 s and 160 MB to import, so it is not used here.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from ..documents import note_sheet, note_spreadsheet
from ..redact import redact
from ..settings import Settings, load_settings
from ..table.rows import RowData
from ..wording import Wording
from .answer import Answer, read_bounded, token_in
from .blocks import Block, beside, in_halves, oldest
from .codes import NO_CHANGE
from .errors import FeishuError, FeishuNotConfiguredError, Reach, Remedy, accepted, answered, lacking
from .sheet import STATUSES, WRITTEN, SheetTable, column_letters, read_table
from .sheet_list import Grid, grid_of
from .wiki import spreadsheet_of_node

log = logging.getLogger("wfrecovery")

#: Seconds to connect, and between two bytes of an answer.
TIMEOUT: Final = (10.0, 60.0)
#: A token is renewed this long before it ends; Feishu gives a new one from 30 minutes before the end.
_TOKEN_RESERVE: Final = 300.0
#: One write takes at most 5,000 rows × 100 columns; a status is one cell, and a short request is cheap to repeat.
RANGES_PER_WRITE: Final = 100
#: Seconds between the tries of a read; a longer wait that Feishu asks for wins.
_READ_WAITS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_LONGEST_READ_WAIT: Final = 300.0
#: One read takes at most 100 columns.
_COLUMNS_PER_READ: Final = 100

#: Cells that one reading of the sheet may hold, blank rows at the end apart: some hundred MB in memory.
MOST_CELLS: Final = 2_000_000

Result = TypeVar("Result")


class FeishuClient:
    """The calls that publishing and `main.py` need, on the sheet that the settings name. Safe to use from threads.

    Every method raises FeishuError. Only `read_rows`, `media` and `download_media` wait and try again; the others try
    once more with a fresh token at most, so that the publisher decides how long to wait.
    """

    def __init__(
        self, settings: Settings, *, session: requests.Session | None = None, timeout: tuple[float, float] = TIMEOUT
    ) -> None:
        self.settings = settings
        self._session = session or requests.Session()
        self._timeout = timeout
        self._token_lock = threading.Lock()
        self._token, self._token_ends = "", 0.0
        self._url = ""
        #: the titles of all sheets by the newest list, by `Settings.sheet_key`
        self.titles: Mapping[str, str] = {}

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> FeishuClient:
        """A client for `settings` (default: `load_settings()`). Without credentials it exists, and each call says
        which setting is missing."""
        return cls(settings or load_settings())

    @property
    def configured(self) -> bool:
        """Whether all settings are there."""
        return self.settings.feishu_configured

    def read_rows(self) -> list[RowData]:
        """The rows of the sheet that name a product or a model. Waits out a busy or limiting Feishu, as reads may.

        Left out, with a word in the log, are rows of which a name or the 提示词 is not understood; a status that is
        not, or a formula, reads as none. A column that is not there reads as empty, which the log says; raises
        SheetLayoutError where several may be meant, or one of 产品名, 模特名 and 提示词 is gone.
        """
        began, sheet = time.time(), self._patiently(self.read_sheet)
        missing = sheet.check_columns()
        if missing:
            log.warning("[wfrecovery] the sheet has no column %s: it reads as empty", ", ".join(missing))
        for rows, what in (
            (sheet.unclear_rows(), "rows left out, a name or the 提示词 there is not understood"),
            (sheet.unclear_rows(STATUSES), "rows with a status that is a formula, or not understood, count as no 否"),
        ):
            if rows:
                log.warning("[wfrecovery] %s: %s%s", what, ", ".join(map(str, rows[:20])), " …" if rows[20:] else "")
        return sheet.rows(began)

    def read_sheet(self) -> SheetTable:
        """The whole sheet, in few reads: mostly one, and one for the formulas among what may be written over."""
        grid = self._grid()
        table = self._values_of(grid)
        fields = [field for field in WRITTEN if field in table.places]
        if not fields or not table.row_numbers():
            return table
        formulas, revision = self._formulas_in(table, fields)
        table = table.with_formulas(table.row_numbers()[0], fields, formulas)
        return replace(table, revision=oldest([table.revision, revision]))

    def has_formulas(self, sheet: SheetTable, name: str) -> bool:
        """Whether there are formulas in a column, now."""
        cells, _ = self._formulas_in(sheet, [name])
        return any(isinstance(cell, str) and cell.startswith("=") for row in cells for cell in row)

    def _formulas_in(self, sheet: SheetTable, names: Sequence[str]) -> Block:
        """The rows of some columns, with a formula as such."""
        letters = [column_letters(sheet.place(name)) for name in names]
        rows = sheet.row_numbers()
        return in_halves(partial(self._formulas, sheet.sheet_id, letters), rows[0], rows[-1])

    def read_again(self, sheet: SheetTable) -> SheetTable:
        """The cells of a sheet that was read before, of the size that it had then, with what formulas give."""
        return self._values_of(Grid(sheet.sheet_id, *sheet.size, tuple(sheet.merges)))

    def _values_of(self, grid: Grid) -> SheetTable:
        values: list[list[Any]] = []
        revisions: list[int | None] = []
        held = 0
        for first in range(0, grid.columns, _COLUMNS_PER_READ):
            last = min(first + _COLUMNS_PER_READ, grid.columns) - 1
            columns = f"{grid.sheet_id}!{column_letters(first)}{{}}:{column_letters(last)}{{}}"
            part, revision = in_halves(partial(self._rows, columns), 1, grid.rows)
            held += sum(len(row or ()) for row in part)
            if held > MOST_CELLS:
                raise _too_many_cells(self.settings.feishu_sheet_name)
            values = beside(values, part, first)
            revisions.append(revision)
        table = read_table(grid.sheet_id, values, self.settings.sheet_columns, grid.merges)
        return replace(table, size=(grid.rows, grid.columns), revision=oldest(revisions))

    def revision(self, cell_range: str) -> int | None:
        """The spreadsheet's revision now, by a read of one cell; it goes up with each change, whoever makes it."""
        return self._values(cell_range)[1]

    def read_cell(self, cell_range: str) -> Any:
        """What one cell holds now."""
        values, _ = self._values(cell_range)
        return values[0][0] if values and values[0] else None

    def write_picture(self, cell_range: str, name: str, content: bytes) -> int | None:
        """Put a picture into one cell (`values_image`); `name` needs an extension that Feishu lists.

        Returns the spreadsheet's revision after it, where the answer tells.
        """
        body = {"range": cell_range, "image": base64.b64encode(content).decode(), "name": name}
        return _revision(self._call("POST", f"{self._v2}/values_image", body, write=True))

    def write_cells(self, cells: Mapping[str, Any]) -> list[int | None]:
        """Write single cells, address → text or link object, in as few calls as fit.

        Returns the spreadsheet's revision after each call, where the answers tell.
        """
        items = list(cells.items())
        revisions = []
        for start in range(0, len(items), RANGES_PER_WRITE):
            revisions += self._write(items[start : start + RANGES_PER_WRITE])
        return revisions

    def find_document(self) -> None:
        """Ask which spreadsheet the address means, where nobody in this process has: `settings.document` tells it from
        then on."""
        if self.configured and self.settings.spreadsheet is None:
            self._sheets()

    def find_sheet(self) -> None:
        """Ask which sheet the settings name: `settings.sheet` tells it from then on."""
        self._grid()

    def sheet_url(self) -> str:
        """The address of the spreadsheet for a browser (sheets/v3/spreadsheets/:token); asked once."""
        if not self._url:
            self._sheets()
            data = self._call("GET", self._v3)
            self._url = str((data.get("spreadsheet") or {}).get("url") or "")
        return self._url

    def download_media(self, file_token: str, target: Path) -> None:
        """Save a cell's picture (its `fileToken`) to `target`, through a `.part` file; waits like `read_rows`."""
        part = target.with_name(target.name + ".part")
        part.write_bytes(self.media(file_token))
        part.replace(target)

    def media(self, file_token: str) -> bytes:
        """The bytes of a cell's picture (its `fileToken`); waits like `read_rows`."""
        path = f"/open-apis/drive/v1/medias/{quote(file_token, safe='')}/download"
        return self._patiently(lambda: self._send("GET", path, None, _content))

    @staticmethod
    def _patiently(read: Callable[[], Result]) -> Result:
        for wait in (*_READ_WAITS, None):
            try:
                return read()
            except FeishuError as error:
                if wait is None or error.remedy is not Remedy.RETRY:
                    raise
                time.sleep(min(max(wait, error.wait or 0.0), _LONGEST_READ_WAIT))
        raise AssertionError("unreachable")

    # ------------------------------------------------------------------ sheet calls

    @property
    def _v2(self) -> str:
        return f"/open-apis/sheets/v2/spreadsheets/{self._spreadsheet}"

    @property
    def _v3(self) -> str:
        return f"/open-apis/sheets/v3/spreadsheets/{self._spreadsheet}"

    @property
    def _spreadsheet(self) -> str:
        return quote(self.settings.spreadsheet or self.settings.feishu_spreadsheet_token, safe="")

    def _sheets(self) -> list[dict[str, Any]]:
        """The sheets of the spreadsheet; one that lives in a wiki is found by its node (wiki/v2/spaces/get_node)."""
        try:
            return self._listed()
        except FeishuError as refusal:
            if self.settings.spreadsheet is not None:
                raise
            given = self.settings.feishu_spreadsheet_token
            self._note(spreadsheet_of_node(given, refusal, partial(self._call, "GET")))
        return self._listed()

    def _note(self, spreadsheet: str) -> None:
        note_spreadsheet(self.settings.feishu_domain, self.settings.feishu_spreadsheet_token, spreadsheet)

    def _listed(self) -> list[dict[str, Any]]:
        sheets: list[dict[str, Any]] | None = self._call("GET", f"{self._v3}/sheets/query").get("sheets")
        if sheets is None:
            raise lacking("sheets/query")
        if self.settings.spreadsheet is None:
            self._note(self.settings.feishu_spreadsheet_token)
        return sheets

    def _grid(self) -> Grid:
        """The sheet that the settings name; asked anew each time, rows come and go."""
        sheets = self._sheets()
        self.titles = {self.settings.sheet_key(str(one.get("sheet_id"))): str(one.get("title")) for one in sheets}
        grid = grid_of(sheets, self.settings.feishu_sheet_name)
        note_sheet(self.settings.document or "", self.settings.sheet_key(grid.sheet_id))
        return grid

    def _rows(self, columns: str, first: int, last: int) -> Block:
        """Rows of `columns`, a range with two places for row numbers."""
        return self._values(columns.format(first, last))

    def _formulas(self, sheet_id: str, letters: Sequence[str], first: int, last: int) -> Block:
        """The same between two rows: elsewhere a formula reads as what it gives."""
        ranges = quote(",".join(f"{sheet_id}!{column}{first}:{column}{last}" for column in letters), safe="")
        query = f"ranges={ranges}&valueRenderOption=Formula&dateTimeRenderOption=FormattedString"
        data = self._call("GET", f"{self._v2}/values_batch_get?{query}")
        columns = data.get("valueRanges") or []
        if len(columns) != len(letters):
            raise lacking("valueRanges")
        rows: list[list[Any]] = []
        for place, column in enumerate(columns):
            rows = beside(rows, column.get("values") or [], place)
        return rows, _revision(data)

    def _values(self, cell_range: str) -> Block:
        query = "valueRenderOption=UnformattedValue&dateTimeRenderOption=FormattedString"
        data = self._call("GET", f"{self._v2}/values/{quote(cell_range, safe='')}?{query}")
        return (data.get("valueRange") or {}).get("values") or [], _revision(data)

    def _write(self, items: Sequence[tuple[str, Any]]) -> list[int | None]:
        body = {"valueRanges": [{"range": address, "values": [[value]]} for address, value in items]}
        try:
            return [_revision(self._call("POST", f"{self._v2}/values_batch_update", body, write=True))]
        except FeishuError as error:
            if error.remedy is not Remedy.SPLIT or len(items) == 1:
                raise
            middle = len(items) // 2
            return self._write(items[:middle]) + self._write(items[middle:])

    # ------------------------------------------------------------------ one call

    def _call(self, method: str, path: str, body: Any = None, *, write: bool = False) -> dict[str, Any]:
        if not self.configured:
            raise FeishuNotConfiguredError(self.settings.missing)
        data = self._send(method, path, body, _written if write else _data, write=write)
        if not data and not write:
            raise lacking()
        return data

    def _send(
        self, method: str, path: str, body: Any, read: Callable[[Answer], Result], *, write: bool = False
    ) -> Result:
        """Send with the token; an answer that calls the token invalid gets one more try with a new one."""
        for last_try in (False, True):
            token = self.tenant_token()
            response = self._request(method, path, body, {"Authorization": f"Bearer {token}"}, write=write)
            try:
                return read(response)
            except FeishuError as error:
                if last_try or error.remedy is not Remedy.REFRESH:
                    raise error.reworded(self._clean) from None
                self.drop_token(token)
        raise AssertionError("unreachable")

    def _request(self, method: str, path: str, body: Any, headers: Mapping[str, str], *, write: bool) -> Answer:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode(errors="replace")
        try:
            response = self._session.request(
                method,
                self.settings.feishu_domain + path,
                data=data,
                headers={"Content-Type": "application/json; charset=utf-8", **headers},
                timeout=self._timeout,
                stream=True,
            )
            return read_bounded(response)
        except requests.ConnectTimeout as error:
            raise FeishuError(
                Wording("Feishu cannot be reached: no connection in time", "连不上飞书：连接超时")
            ) from error
        except (requests.RequestException, HTTPError, ValueError) as error:
            # Sent or not, read or not, or sent on to what is no address: nobody knows whether a write happened.
            what = Wording(f"no answer from Feishu: {error}", f"飞书没有回应：{error}").changed(self._clean)
            raise FeishuError(what, outcome_unknown=write, slow=isinstance(error, requests.Timeout)) from error

    def tenant_token(self) -> str:
        """The token, fetched by one thread while the others wait (auth/v3/tenant_access_token/internal)."""
        with self._token_lock:
            if self._token and time.monotonic() < self._token_ends:
                return self._token
            body = {"app_id": self.settings.feishu_app_id, "app_secret": self.settings.feishu_app_secret}
            answer = self._request("POST", "/open-apis/auth/v3/tenant_access_token/internal", body, {}, write=False)
            try:
                token, lifetime = token_in(accepted(answer.status_code, answer.headers, answer.content))
            except FeishuError as error:
                raise error.reworded(self._clean) from None
            self._token, self._token_ends = token, time.monotonic() + max(lifetime - _TOKEN_RESERVE, lifetime / 2)
            return token

    def drop_token(self, token: str) -> None:
        """Forget a token that Feishu called invalid, so that the next call fetches another one."""
        with self._token_lock:
            if self._token == token:  # a late answer about an old token does not evict a newer one
                self._token = ""

    def _clean(self, text: str) -> str:
        return redact(
            text,
            (
                *self.settings.secrets,
                self._token,
                self.settings.spreadsheet or "",
                self.settings.feishu_spreadsheet_token,
            ),
        )


def _data(response: Answer) -> dict[str, Any]:
    return answered(response.status_code, response.headers, response.content)


def _written(response: Answer) -> dict[str, Any]:
    """As `_data`; what stands there already is written. What is read afterwards tells whether it does."""
    return answered(response.status_code, response.headers, response.content, done=NO_CHANGE)


def _content(response: Answer) -> bytes:
    """A downloaded file; drive sends some refusals with HTTP 200, as JSON, and a proxy its page."""
    kind = response.headers.get("Content-Type", "").lower()
    if response.status_code != 200 or "json" in kind or "html" in kind:
        _data(response)
        raise lacking("download")
    return response.content


def _too_many_cells(sheet: str) -> FeishuError:
    return FeishuError(
        Wording(
            f"the sheet {sheet!r} has more than {MOST_CELLS:,} cells in use → move finished rows to another sheet",
            f"工作表“{sheet}”使用中的单元格超过 {MOST_CELLS:,} 个 → 请把已完成的行移到另一个工作表",
        ),
        remedy=Remedy.FINAL,
        reach=Reach.DOCUMENT,
    )


def _revision(data: Mapping[str, Any]) -> int | None:
    revision = data.get("revision")
    return revision if type(revision) is int else None
