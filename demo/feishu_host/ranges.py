"""Cells, columns and ranges in the way Feishu writes them. Rows and columns count from 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "Area",
    "RangeError",
    "cell_position",
    "column_letters",
    "column_number",
    "moved",
    "parse_area",
    "rearranged",
]

_CELL: Final = re.compile(r"([A-Z]{1,3})([1-9][0-9]*)")
#: A1:B5, A:B and A1:B. Neither 1:1 nor a lone A1: the service refuses both.
_AREA: Final = re.compile(r"([A-Z]{1,3})([1-9][0-9]*)?:([A-Z]{1,3})([1-9][0-9]*)?")


class RangeError(ValueError):
    """The text is not a range that Feishu understands."""


@dataclass(frozen=True)
class Area:
    """A rectangle of cells, both ends included. `last_row` is None where the range leaves it open."""

    first_row: int
    first_column: int
    last_row: int | None
    last_column: int

    @property
    def columns(self) -> int:
        return self.last_column - self.first_column + 1

    def with_rows(self, rows: int) -> Area:
        """The same columns from the same start, `rows` high."""
        return Area(self.first_row, self.first_column, self.first_row + rows - 1, self.last_column)

    def holds(self, row: int, column: int) -> bool:
        return (
            self.first_row <= row
            and (self.last_row is None or row <= self.last_row)
            and self.first_column <= column <= self.last_column
        )

    def touches(self, other: Area) -> bool:
        """Whether they have a cell in common."""
        below = other.last_row is not None and other.last_row < self.first_row
        above = self.last_row is not None and self.last_row < other.first_row
        beside = other.last_column < self.first_column or self.last_column < other.first_column
        return not (below or above or beside)

    def __str__(self) -> str:
        end = "" if self.last_row is None else str(self.last_row)
        start = f"{column_letters(self.first_column)}{self.first_row}"
        return f"{start}:{column_letters(self.last_column)}{end}"


def column_letters(number: int) -> str:
    """1 is A, 27 is AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def column_number(letters: str) -> int:
    """A is 1, AA is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def parse_area(text: str) -> Area:
    """Read A1:B5, A:B or A1:B; everything else raises RangeError."""
    found = _AREA.fullmatch(text)
    if found is None:
        raise RangeError(f"not a range: {text}")
    left, top, right, bottom = found.groups()
    if bottom and not top:
        raise RangeError(f"a range that ends in a row must start in one: {text}")
    area = Area(int(top or 1), column_number(left), int(bottom) if bottom else None, column_number(right))
    if area.columns < 1 or (area.last_row is not None and area.last_row < area.first_row):
        raise RangeError(f"a range must not end before it starts: {text}")
    return area


def cell_position(cell: str) -> tuple[int, int]:
    """Row and column of a cell such as H7; everything else raises RangeError."""
    found = _CELL.fullmatch(cell)
    if found is None:
        raise RangeError(f"not a cell: {cell}")
    return int(found[2]), column_number(found[1])


def moved(area: Area, at: int, count: int) -> Area:
    """The area after rows from `at` on moved by `count`."""
    first = area.first_row + (count if area.first_row >= at else 0)
    last = area.last_row if area.last_row is None else area.last_row + (count if area.last_row >= at else 0)
    return Area(first, area.first_column, last, area.last_column)


def rearranged(area: Area, columns: Sequence[int | None]) -> Area | None:
    """The area in a sheet whose columns had these numbers before, None for a new one; None where nothing is left of
    it. One that goes on beyond all columns still does."""
    left = [
        number
        for number, former in enumerate(columns, 1)
        if former is not None and area.first_column <= former <= area.last_column
    ]
    left += [area.last_column] if area.last_column > len(columns) else []
    return Area(area.first_row, min(left), area.last_row, max(left)) if left else None
