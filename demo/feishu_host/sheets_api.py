"""The sheet calls of the stand-in: v3 for the list of sheets, v2 for values and pictures."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .cells import CellValue, Picture, plain_text
from .pictures import is_webp
from .ranges import Area, RangeError, parse_area
from .sheet import Sheet, Spreadsheet
from .wire import ApiError, Kind, Limits, Request, Route, Switches

__all__ = ["SheetsApi"]

_V2: Final = "/open-apis/sheets/v2/spreadsheets/:spreadsheet"
_V3: Final = "/open-apis/sheets/v3/spreadsheets/:spreadsheet"
_WRITE_SCOPES: Final = ("drive:drive", "sheets:spreadsheet")
_READ_SCOPES: Final = (*_WRITE_SCOPES, "drive:drive:readonly", "sheets:spreadsheet:readonly")
#: WEBP stands on Lark's page, not on Feishu's
_PICTURE_NAMES: Final = re.compile(r".+\.(png|jpeg|jpg|gif|bmp|jfif|exif|tiff|bpg|heic)", re.IGNORECASE | re.DOTALL)
#: all but tab, line feed and carriage return
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OBJECTS: Final = frozenset({"url", "mention", "formula", "multipleValue", "text"})


@dataclass(frozen=True)
class _Target:
    """A range of a request: where, and what the range allows."""

    sheet: Sheet
    area: Area
    #: the range is the sheet's id alone
    whole: bool = False

    def named(self, area: Area | None = None) -> str:
        return f"{self.sheet.sheet_id}!{area or self.area}"


class SheetsApi:
    """Carries the calls out on a spreadsheet, within the limits."""

    def __init__(self, book: Spreadsheet, limits: Limits, switches: Switches) -> None:
        self._book = book
        self._limits = limits
        self._switches = switches

    def routes(self) -> list[Route]:
        def read(pattern: str, operation: str, handler: Any) -> Route:
            kind = Kind.READ if pattern.startswith(_V2) else Kind.READ_V3
            return Route("GET", pattern, operation, kind, handler, _READ_SCOPES)

        def write(method: str, operation: str, handler: Any, path: str = "") -> Route:
            return Route(method, f"{_V2}/{path or operation}", operation, Kind.WRITE, handler, _WRITE_SCOPES)

        return [
            read(_V3, "spreadsheet_get", self._spreadsheet),
            read(f"{_V3}/sheets/query", "sheets_query", self._query),
            read(f"{_V3}/sheets/:sheet", "sheet_get", self._sheet),
            read(f"{_V2}/values/:range", "values_get", self._get),
            read(f"{_V2}/values_batch_get", "values_batch_get", self._batch_get),
            write("PUT", "values_put", self._put, "values"),
            write("POST", "values_batch_update", self._batch_update),
            write("POST", "values_append", self._append),
            write("POST", "values_prepend", self._prepend),
            write("POST", "values_image", self._image),
        ]

    def half_batch(self, request: Request) -> None:
        """Write the first half of the ranges: what may happen when a batch is not atomic."""
        ranges = self._body(request).get("valueRanges", [])
        with self._book.change():
            for target, values in [self._checked(item) for item in ranges[: (len(ranges) + 1) // 2]]:
                target.sheet.write(target.area, values)

    # Reading

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
        with self._book.lock:
            shown = self._values(self._target(request.params["range"]), request.query("valueRenderOption"))
            return {"revision": self._book.revision, "spreadsheetToken": self._book.token, "valueRange": shown}

    def _batch_get(self, request: Request) -> dict[str, Any]:
        names = [name for name in request.query("ranges").split(",") if name]
        if not names:
            raise self._error(90229, "ranges is missing")
        with self._book.lock:
            shown = [self._values(self._target(name), request.query("valueRenderOption")) for name in names]
            cells = sum(len(row) for values in shown for row in values["values"])
            head = {"revision": self._book.revision, "spreadsheetToken": self._book.token, "totalCells": cells}
            return {**head, "valueRanges": shown}

    def _values(self, target: _Target, option: str) -> dict[str, Any]:
        area = target.area
        if area.last_row is None:
            if area.columns > self._limits.read_columns:
                raise self._error(90202, f"validate RangeVal fail: over {self._limits.read_columns} columns")
            # The sheet's id alone means what is filled, an open range goes down to the last row of the grid.
            last = max(target.sheet.last_row, 1) if target.whole else target.sheet.row_count
            area = Area(area.first_row, area.first_column, max(last, area.first_row), area.last_column)
        values = [[self._rendered(value, option) for value in row] for row in target.sheet.read(area)]
        named = target.named(area)
        return {"majorDimension": "ROWS", "range": named, "revision": self._book.revision, "values": values}

    def _rendered(self, value: CellValue, option: str) -> Any:
        if isinstance(value, dict) and value.get("type") == "formula":
            return value["text"]
        if option == "ToString" and isinstance(value, (list, dict)):
            return plain_text(value)
        return self._book.cell_json(value)

    # Writing

    def _put(self, request: Request) -> dict[str, Any]:
        target, values = self._checked(self._body(request).get("valueRange"))
        with self._book.change():
            target.sheet.write(target.area, values)
            return {"revision": self._book.next_revision, **self._updated(target, values)}

    def _batch_update(self, request: Request) -> dict[str, Any]:
        ranges = self._body(request).get("valueRanges")
        if not isinstance(ranges, list) or not ranges:
            raise self._error(90204, "valueRanges is missing")
        # All are checked before the first is written. Feishu does not say so: HALF_BATCH is the other case.
        checked = [self._checked(item) for item in ranges]
        with self._book.change():
            for target, values in checked:
                target.sheet.write(target.area, values)
            responses = [self._updated(target, values) for target, values in checked]
            head = {"revision": self._book.next_revision, "spreadsheetToken": self._book.token}
        return {**head, "responses": responses}

    def _append(self, request: Request) -> dict[str, Any]:
        target, values = self._loose(self._body(request).get("valueRange"))
        with self._book.change():
            row = target.area.first_row
            while target.sheet.at(row, target.area.first_column) is not None:
                row += 1
            if request.query("insertDataOption") == "INSERT_ROWS":
                target.sheet.insert_blank(row, len(values))
            return self._added(target, row, values)

    def _prepend(self, request: Request) -> dict[str, Any]:
        target, values = self._loose(self._body(request).get("valueRange"))
        with self._book.change():
            target.sheet.insert_blank(target.area.first_row, len(values))
            return self._added(target, target.area.first_row, values)

    def _added(self, target: _Target, row: int, values: list[list[CellValue]]) -> dict[str, Any]:
        left = target.area.first_column
        area = Area(row, left, row + len(values) - 1, left + max(map(len, values)) - 1)
        target.sheet.write(area, values)
        revision, token = self._book.next_revision, self._book.token
        updates = {"revision": revision, **self._updated(_Target(target.sheet, area), values)}
        return {"revision": revision, "spreadsheetToken": token, "tableRange": target.named(area), "updates": updates}

    def _image(self, request: Request) -> dict[str, Any]:
        body = self._body(request, self._limits.picture_bytes * 5)
        target = self._target(body.get("range"))
        area = target.area
        if (area.first_row, area.first_column) != (area.last_row, area.last_column):
            raise self._error(90202, "validate RangeVal fail: a picture needs one cell, with start and end")
        data = self._picture_bytes(body.get("image"))
        name = body.get("name")
        if not isinstance(name, str) or not _PICTURE_NAMES.fullmatch(name) or is_webp(data):
            raise self._error(90204, "Image format is unknown")
        if len(data) > self._limits.picture_bytes:
            raise self._error(90227, "request too large")
        if len(self._book.pictures) >= self._limits.pictures:
            raise self._error(90226, f"over {self._limits.pictures} pictures in one spreadsheet")
        with self._book.change():
            target.sheet.write_picture(area.first_row, area.first_column, data, name)
            head = {"revision": self._book.next_revision, "spreadsheetToken": self._book.token}
        return {**head, self._switches.picture_range_key: body["range"]}

    def _picture_bytes(self, image: Any) -> bytes:
        """A byte array, as the page says, or base64, as the page's own sample sends."""
        try:
            if isinstance(image, str):
                data = base64.b64decode(image, validate=True)
            elif isinstance(image, list):
                data = bytes(image)
            else:
                data = b""
        except (binascii.Error, ValueError, TypeError):
            data = b""
        if not data:
            raise self._error(90204, "image is neither base64 nor a list of bytes")
        return data

    def _updated(self, target: _Target, values: list[list[CellValue]]) -> dict[str, Any]:
        return {
            "spreadsheetToken": self._book.token,
            "updatedCells": sum(map(len, values)),
            "updatedColumns": max(map(len, values)),
            "updatedRange": target.named(target.area.with_rows(len(values))),
            "updatedRows": len(values),
        }

    # Checking

    def _error(self, code: int, message: str) -> ApiError:
        return ApiError(code, message, self._switches.sheet_error_status)

    def _body(self, request: Request, limit: int | None = None) -> dict[str, Any]:
        if len(request.body) > (limit or self._limits.body_bytes):
            raise self._error(90227, "request too large")
        try:
            return request.json(90201)
        except ApiError as error:
            raise self._error(error.code, error.message) from None

    def _target(self, name: Any) -> _Target:
        if not isinstance(name, str):
            raise self._error(90202, "validate RangeVal fail: range is missing")
        sheet_id, mark, area = name.partition("!")
        sheet = self._book.by_id(sheet_id)
        if sheet is None:
            raise self._error(90215, "sheetId not found")
        if not mark:
            return _Target(sheet, Area(1, 1, None, max(sheet.last_column, 1)), whole=True)
        try:
            return _Target(sheet, parse_area(area))
        except RangeError as error:
            raise self._error(90202, f"validate RangeVal fail: {error}") from None

    def _checked(self, item: Any) -> tuple[_Target, list[list[CellValue]]]:
        """A range and values of exactly its shape."""
        target, values = self._loose(item)
        area = target.area
        rows_fit = area.last_row is None or len(values) == area.last_row - area.first_row + 1
        if target.whole or not rows_fit or any(len(row) != area.columns for row in values):
            raise self._error(90202, "validate RangeVal fail: values do not have the shape of the range")
        return target, values

    def _loose(self, item: Any) -> tuple[_Target, list[list[CellValue]]]:
        """A range and values that may be written, whatever their shape."""
        if not isinstance(item, dict):
            raise self._error(90204, "valueRange is missing")
        target, values = self._target(item.get("range")), item.get("values")
        if not isinstance(values, list) or not values or not all(isinstance(row, list) and row for row in values):
            raise self._error(90202, "validate RangeVal fail: values must be rows of cells")
        if len(values) > self._limits.write_rows or max(map(len, values)) > self._limits.write_columns:
            raise self._error(90226, f"over {self._limits.write_rows} rows or {self._limits.write_columns} columns")
        if not target.whole and max(map(len, values)) > target.area.columns:
            raise self._error(90202, "validate RangeVal fail: rows are longer than the range")
        return target, [[self._cell(value) for value in row] for row in values]

    def _cell(self, value: Any) -> CellValue:
        for text in _texts(value):
            if len(text) > self._limits.cell_characters:
                raise self._error(90222, f"cell too large: over {self._limits.cell_characters} characters")
            if _CONTROL.search(text):
                raise self._error(90202, "validate RangeVal fail: control character")
        if isinstance(value, dict) and value.get("type") not in _OBJECTS:
            # So neither a file nor a picture by its token can be put into a cell.
            raise self._error(90202, f"validate RangeVal fail: a cell cannot hold {value.get('type')}")
        if isinstance(value, list) and not all(_is_segment(item) for item in value):
            raise self._error(90202, "validate RangeVal fail: a list in a cell must be text segments")
        cell: CellValue = value
        return cell


def _is_segment(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") in _OBJECTS


def _texts(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, dict)) and not isinstance(value, Picture):
        return (plain_text(value),) if isinstance(value, dict) or all(map(_is_segment, value)) else ()
    return ()


def _merge_json(area: Area) -> dict[str, int]:
    return {
        "start_row_index": area.first_row - 1,
        "end_row_index": (area.last_row or area.first_row) - 1,
        "start_column_index": area.first_column - 1,
        "end_column_index": area.last_column - 1,
    }
