"""What the sheet calls of the stand-in are given: ranges, values and pictures, checked."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .cells import CellValue, plain_text, with_types
from .pictures import is_webp
from .ranges import Area, RangeError, parse_area
from .sheet import Sheet
from .spreadsheet import Spreadsheet
from .switches import Limits, Switches
from .wire import ApiError, Request, sheet_error

__all__ = ["Checker", "Target", "Values", "Write"]

#: WEBP stands on Lark's page, not on Feishu's
_PICTURE_NAMES: Final = re.compile(r".+\.(png|jpeg|jpg|gif|bmp|jfif|exif|tiff|bpg|heic)", re.IGNORECASE | re.DOTALL)
#: all but tab, line feed and carriage return
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OBJECTS: Final = frozenset({"url", "mention", "formula", "multipleValue", "text"})

Values: TypeAlias = list[list[CellValue]]


@dataclass(frozen=True)
class Target:
    """A range of a request: where, and what the range allows."""

    sheet: Sheet
    area: Area
    #: the range is the sheet's id alone
    whole: bool = False

    def named(self, area: Area | None = None) -> str:
        return f"{self.sheet.sheet_id}!{area or self.area}"


@dataclass(frozen=True)
class Write:
    """Values on their way into a range. They may be fewer than the range has cells: the others stay as they are."""

    target: Target
    values: Values

    @property
    def sheet(self) -> Sheet:
        return self.target.sheet

    @property
    def area(self) -> Area:
        """The range in the answer; an open one ends with the values."""
        open_end = self.target.area.last_row is None
        return self.target.area.with_rows(len(self.values)) if open_end else self.target.area

    def cells(self) -> Iterator[tuple[int, int, CellValue]]:
        for row, cells in enumerate(self.values, self.target.area.first_row):
            for column, value in enumerate(cells, self.target.area.first_column):
                yield row, column, None if value == "" else value

    def new_cells(self) -> int:
        """How many are empty yet."""
        return sum(value is not None and self.sheet.at(row, column) is None for row, column, value in self.cells())

    def changes(self) -> bool:
        return any(value != self.sheet.at(row, column) for row, column, value in self.cells())

    def carry_out(self) -> None:
        self.sheet.write(self.target.area, self.values)


class Checker:
    """Raises ApiError for what Feishu does not take."""

    def __init__(self, book: Spreadsheet, limits: Limits, switches: Switches) -> None:
        self._book = book
        self._limits = limits
        self._switches = switches

    def error(self, code: int, message: str) -> ApiError:
        return sheet_error(code, message, self._switches.sheet_error_status)

    def body(self, request: Request, limit: int | None = None) -> dict[str, Any]:
        if len(request.body) > (limit or self._limits.body_bytes):
            raise self.error(90227, "request too large")
        try:
            return request.json(90201)
        except ApiError as error:
            raise self.error(error.code, error.message) from None

    def target(self, name: Any) -> Target:
        if not isinstance(name, str):
            raise self.error(90202, "validate RangeVal fail: range is missing")
        sheet_id, mark, area = name.partition("!")
        sheet = self._book.by_id(sheet_id)
        if sheet is None:
            raise self.error(90215, "sheetId not found")
        if not mark:
            return Target(sheet, Area(1, 1, None, max(sheet.last_column, 1)), whole=True)
        try:
            return Target(sheet, parse_area(area))
        except RangeError as error:
            raise self.error(90202, f"validate RangeVal fail: {error}") from None

    def exact(self, item: Any) -> Write:
        """Values of exactly the range's shape."""
        write = self.fitting(item)
        area = write.target.area
        rows_fit = area.last_row is None or len(write.values) == area.last_row - area.first_row + 1
        if not rows_fit or any(len(row) != area.columns for row in write.values):
            raise self.error(90202, "validate RangeVal fail: values do not have the shape of the range")
        return write

    def fitting(self, item: Any) -> Write:
        """Values that have room in the range."""
        write = self.loose(item)
        area = write.target.area
        too_long = area.last_row is not None and len(write.values) > area.last_row - area.first_row + 1
        if write.target.whole or too_long:
            raise self.error(90202, "validate RangeVal fail: values do not have the shape of the range")
        return write

    def loose(self, item: Any) -> Write:
        """Values that may be written, however many rows they have."""
        if not isinstance(item, dict):
            raise self.error(90204, "valueRange is missing")
        target, values = self.target(item.get("range")), item.get("values")
        if not isinstance(values, list) or not values or not all(isinstance(row, list) and row for row in values):
            raise self.error(90202, "validate RangeVal fail: values must be rows of cells")
        if len(values) > self._limits.write_rows or max(map(len, values)) > self._limits.write_columns:
            raise self.error(90226, f"over {self._limits.write_rows} rows or {self._limits.write_columns} columns")
        if not target.whole and max(map(len, values)) > target.area.columns:
            raise self.error(90202, "validate RangeVal fail: rows are longer than the range")
        return Write(target, [[self._cell(value) for value in row] for row in values])

    def picture(self, body: dict[str, Any]) -> tuple[Target, bytes, str]:
        """One cell, the picture for it, and its name."""
        target = self.target(body.get("range"))
        area = target.area
        if (area.first_row, area.first_column) != (area.last_row, area.last_column):
            raise self.error(90202, "validate RangeVal fail: a picture needs one cell, with start and end")
        data, name = self._picture_bytes(body.get("image")), body.get("name")
        if not isinstance(name, str) or not _PICTURE_NAMES.fullmatch(name) or is_webp(data):
            raise self.error(90204, "Image format is unknown")
        if len(data) > self._limits.picture_bytes:
            raise self.error(90227, "request too large")
        if len(self._book.pictures) >= self._limits.pictures:
            message = f"over {self._limits.pictures} pictures in one spreadsheet"
            raise self.error(self._switches.pictures_full_code, message)
        return target, data, name

    def refusals(self, writes: Sequence[Write]) -> list[ApiError | None]:
        """Why each of them cannot be carried out: its cells are protected, or its sheet becomes too full."""
        filled: dict[str, int] = {}
        found: list[ApiError | None] = []
        for write in writes:
            sheet, new = write.sheet, write.new_cells()
            filled[sheet.sheet_id] = filled.get(sheet.sheet_id, sheet.filled_cells) + new
            if sheet.protected(write.area):
                found.append(self.error(self._switches.protected_code, "locked cell"))
            elif new and filled[sheet.sheet_id] > self._limits.sheet_cells:
                found.append(self.error(self._switches.sheet_full_code, "cell excess"))
            else:
                found.append(None)
        return found

    def possible(self, *writes: Write) -> None:
        """All of them can be carried out."""
        for refusal in self.refusals(writes):
            if refusal is not None:
                raise refusal

    def needed(self, *writes: Write) -> None:
        """At least one of them changes something, if the service cares."""
        if self._switches.unchanged_refused and not any(write.changes() for write in writes):
            raise self.error(90216, "no change")

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
            raise self.error(90204, "image is neither base64 nor a list of bytes")
        return data

    def _cell(self, value: Any) -> CellValue:
        for text in _texts(value):
            if len(text) > self._limits.cell_characters:
                raise self.error(90222, f"cell too large: over {self._limits.cell_characters} characters")
            if _CONTROL.search(text):
                raise self.error(90202, "validate RangeVal fail: control character")
        if isinstance(value, dict) and value.get("type") not in _OBJECTS:
            # So neither a file nor a picture by its token can be put into a cell.
            raise self.error(90202, f"validate RangeVal fail: a cell cannot hold {value.get('type')}")
        if isinstance(value, list) and not all(_is_segment(item) for item in value):
            raise self.error(90202, "validate RangeVal fail: a list in a cell must be text segments")
        if isinstance(value, dict) and not isinstance(value.get("values", []), list):
            raise self.error(90202, "validate RangeVal fail: a drop-down takes a list of values")
        return with_types(value)


def _is_segment(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") in _OBJECTS


def _texts(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, dict):
        return (str(value.get("text", "")), *map(str, value["values"] if isinstance(value.get("values"), list) else ()))
    if isinstance(value, list) and all(map(_is_segment, value)):
        return (plain_text(value),)
    return ()
