"""The calls of the stand-in that write to a sheet: values and pictures, all of them v2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .checking import Checker, Target, Write
from .ranges import Area
from .sheet import Sheet
from .spreadsheet import Spreadsheet
from .switches import Limits, Switches
from .wire import Request

__all__ = ["WriteApi"]


class WriteApi:
    """Carries the writes out on a spreadsheet, within the limits."""

    def __init__(self, book: Spreadsheet, limits: Limits, switches: Switches) -> None:
        self._book = book
        self._limits = limits
        self._switches = switches
        self._check = Checker(book, limits, switches)

    def calls(self) -> Sequence[tuple[str, str, str, Callable[[Request], dict[str, Any]]]]:
        """Method, last part of the path, operation and handler of each."""
        return [
            ("PUT", "values", "values_put", self._put),
            ("POST", "values_batch_update", "values_batch_update", self._batch_update),
            ("POST", "values_append", "values_append", self._append),
            ("POST", "values_prepend", "values_prepend", self._prepend),
            ("POST", "values_image", "values_image", self._image),
        ]

    def half_batch(self, request: Request) -> None:
        """Write the first half of the ranges: what may happen when a batch is not atomic."""
        ranges = self._check.body(request).get("valueRanges", [])
        self._carry_out([self._check.fitting(item) for item in ranges[: (len(ranges) + 1) // 2]])

    def _put(self, request: Request) -> dict[str, Any]:
        write = self._check.exact(self._check.body(request).get("valueRange"))
        self._check.possible(write)
        self._check.needed(write)
        write.carry_out()
        return {**self._version(write.sheet), **self._updated(write)}

    def _batch_update(self, request: Request) -> dict[str, Any]:
        ranges = self._check.body(request).get("valueRanges")
        if not isinstance(ranges, list) or not ranges:
            raise self._check.error(90204, "valueRanges is missing")
        writes = [self._check.fitting(item) for item in ranges]
        if not self._switches.batch_atomic:
            refused = [refusal is not None for refusal in self._check.refusals(writes)]
            self._carry_out(writes[: refused.index(True)] if any(refused) else [])
        self._check.possible(*writes)
        self._check.needed(*writes)
        self._carry_out(writes)
        head = {**self._version(writes[0].sheet), "spreadsheetToken": self._book.token}
        return {**head, "responses": [self._updated(write) for write in writes]}

    def _append(self, request: Request) -> dict[str, Any]:
        write = self._check.loose(self._check.body(request).get("valueRange"))
        row = write.target.area.first_row
        while write.sheet.at(row, write.target.area.first_column) is not None:
            row += 1
        return self._add(write, row, insert=request.query("insertDataOption") == "INSERT_ROWS")

    def _prepend(self, request: Request) -> dict[str, Any]:
        write = self._check.loose(self._check.body(request).get("valueRange"))
        return self._add(write, write.target.area.first_row, insert=True)

    def _add(self, asked: Write, row: int, *, insert: bool) -> dict[str, Any]:
        left = asked.target.area.first_column
        area = Area(row, left, row + len(asked.values) - 1, left + max(map(len, asked.values)) - 1)
        write = Write(Target(asked.sheet, area), asked.values)
        self._check.possible(write)
        with self._book.change(write.sheet.sheet_id, "values"):
            if insert:
                write.sheet.insert_blank(row, len(write.values))
            write.carry_out()
        version = {**self._version(write.sheet), "spreadsheetToken": self._book.token}
        return {**version, "tableRange": write.target.named(), "updates": {**version, **self._updated(write)}}

    def _image(self, request: Request) -> dict[str, Any]:
        body = self._check.body(request, self._limits.picture_bytes * 5)
        target, data, name = self._check.picture(body)
        # Any value stands for it.
        self._check.possible(Write(target, [[name]]))
        target.sheet.write_picture(target.area.first_row, target.area.first_column, data, name)
        head = {**self._version(target.sheet), "spreadsheetToken": self._book.token}
        return {**head, self._switches.picture_range_key: body["range"]}

    def _carry_out(self, writes: Sequence[Write]) -> None:
        """One change of the spreadsheet, if there is anything to write."""
        if writes:
            with self._book.change(who="values"):
                for write in writes:
                    write.carry_out()

    def _version(self, sheet: Sheet) -> dict[str, int]:
        revision = self._book.revisions.of(sheet.sheet_id)
        return {} if revision is None else {"revision": revision}

    def _updated(self, write: Write) -> dict[str, Any]:
        """What is said to be updated: all of the range, as in the page's sample, also where the values are fewer."""
        area = write.area
        rows = (area.last_row or area.first_row) - area.first_row + 1
        return {
            "spreadsheetToken": self._book.token,
            "updatedCells": rows * area.columns,
            "updatedColumns": area.columns,
            "updatedRange": write.target.named(area),
            "updatedRows": rows,
        }
