"""The sheet calls of the stand-in: v3 for the list of sheets, v2 for values and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from .checking import Checker, Target
from .ranges import Area, column_letters
from .rendering import Rendering
from .sheet import Sheet
from .spreadsheet import Spreadsheet
from .switches import Limits, Switches
from .wire import ApiError, Kind, Request, Route
from .write_api import WriteApi

__all__ = ["SheetsApi"]

_V2: Final = "/open-apis/sheets/v2/spreadsheets/:spreadsheet"
_V3: Final = "/open-apis/sheets/v3/spreadsheets/:spreadsheet"
_WRITE_SCOPES: Final = ("drive:drive", "sheets:spreadsheet")
_READ_SCOPES: Final = (*_WRITE_SCOPES, "drive:drive:readonly", "sheets:spreadsheet:readonly")

_Answers: TypeAlias = Callable[[Request], dict[str, Any]]


class SheetsApi:
    """All calls on a spreadsheet; carries out those that read."""

    def __init__(self, book: Spreadsheet, limits: Limits, switches: Switches) -> None:
        self._book = book
        self._limits = limits
        self._switches = switches
        self._check = Checker(book, limits, switches)
        self._writing = WriteApi(book, limits, switches)
        self.half_batch = self._writing.half_batch

    def routes(self) -> list[Route]:
        def v3(path: str, operation: str, handler: _Answers) -> Route:
            return Route("GET", _V3 + path, operation, Kind.READ_V3, handler, _READ_SCOPES)

        def v2(method: str, path: str, operation: str, handler: _Answers) -> Route:
            kind, scopes = (Kind.READ, _READ_SCOPES) if method == "GET" else (Kind.WRITE, _WRITE_SCOPES)
            return Route(method, f"{_V2}/{path}", operation, kind, self._one_by_one(handler), scopes)

        return [
            v3("", "spreadsheet_get", self._spreadsheet),
            v3("/sheets/query", "sheets_query", self._query),
            v3("/sheets/:sheet", "sheet_get", self._sheet),
            v2("GET", "values/:range", "values_get", self._get),
            v2("GET", "values_batch_get", "values_batch_get", self._batch_get),
            *(v2(*call) for call in self._writing.calls()),
        ]

    def _one_by_one(self, handler: _Answers) -> _Answers:
        """Nobody changes the sheet between what a call does and what its answer says of it."""

        def answer(request: Request) -> dict[str, Any]:
            with self._book.lock:
                self._book.revisions.called()
                return handler(request)

        return answer

    def _spreadsheet(self, request: Request) -> dict[str, Any]:
        book = self._book
        return {"spreadsheet": {"title": book.title, "owner_id": book.owner_id, "token": book.token, "url": book.url}}

    def _query(self, request: Request) -> dict[str, Any]:
        with self._book.lock:
            return {"sheets": [self._described(sheet, index) for index, sheet in enumerate(self._book.sheets)]}

    def _sheet(self, request: Request) -> dict[str, Any]:
        sheet = self._book.by_id(request.params["sheet"])
        if sheet is None:
            raise ApiError(1310215, "sheetId not found", 400)
        return {"sheet": self._described(sheet, self._book.sheets.index(sheet))}

    def _described(self, sheet: Sheet, index: int) -> dict[str, Any]:
        described = {
            "sheet_id": sheet.sheet_id,
            "title": sheet.title,
            "index": index,
            "hidden": False,
            "grid_properties": {
                "frozen_row_count": 0,
                "frozen_column_count": 0,
                "row_count": sheet.row_count,
                "column_count": sheet.column_count,
            },
            "resource_type": "sheet",
        }
        # Without merged cells the field is left out.
        return {**described, "merges": [_merge_json(area) for area in sheet.merges]} if sheet.merges else described

    def _get(self, request: Request) -> dict[str, Any]:
        target = self._check.target(request.params["range"])
        self._book.late.begin_read()
        shown = self._values(target, self._rendering(request))
        return {**self._version(target.sheet), "spreadsheetToken": self._book.token, "valueRange": shown}

    def _batch_get(self, request: Request) -> dict[str, Any]:
        names = [name for name in request.query("ranges").split(",") if name]
        if not names:
            raise self._check.error(90229, "ranges is missing")
        targets = [self._check.target(name) for name in names]
        self._book.late.begin_read()
        shown = [self._values(target, self._rendering(request)) for target in targets]
        cells = sum(len(row) for values in shown for row in values["values"])
        head = {**self._version(targets[0].sheet), "spreadsheetToken": self._book.token, "totalCells": cells}
        return {**head, "valueRanges": shown}

    def _rendering(self, request: Request) -> Rendering:
        return Rendering(
            request.query("valueRenderOption"),
            request.query("dateTimeRenderOption") == "FormattedString",
            self._switches,
            self._book.token,
            self._book.base_url,
            self._book.written,
        )

    def _values(self, target: Target, rendering: Rendering) -> dict[str, Any]:
        area = target.area
        if area.last_row is None:
            if area.columns > self._limits.read_columns:
                raise self._check.error(90202, f"validate RangeVal fail: over {self._limits.read_columns} columns")
            # The sheet's id alone means what is filled, an open range goes down to the last row of the grid.
            last = max(target.sheet.last_row, 1) if target.whole else target.sheet.row_count
            area = Area(area.first_row, area.first_column, max(last, area.first_row), area.last_column)
        values = [
            [
                rendering.cell(value, unknown=self._unknown(row, column))
                for column, value in enumerate(cells, area.first_column)
            ]
            for row, cells in enumerate(target.sheet.read(area), area.first_row)
        ]
        head = {"majorDimension": "ROWS", "range": target.named(area), **self._version(target.sheet)}
        return {**head, "values": rendering.rows(values)}

    def _unknown(self, row: int, column: int) -> bool:
        """Whether the switch wants this cell to read as nothing that anybody knows."""
        if not self._switches.unknown_cells:
            return False
        letters = column_letters(column)
        return bool(self._switches.unknown_cells & {letters, f"{letters}{row}"})

    def _version(self, sheet: Sheet) -> dict[str, int]:
        current = self._book.revisions.of(sheet.sheet_id)
        shown = self._book.late.revision(sheet.sheet_id, current)
        return {} if shown is None else {"revision": shown}


def _merge_json(area: Area) -> dict[str, int]:
    return {
        "start_row_index": area.first_row - 1,
        "end_row_index": (area.last_row or area.first_row) - 1,
        "start_column_index": area.first_column - 1,
        "end_column_index": area.last_column - 1,
    }
