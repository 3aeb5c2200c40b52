"""How a cell reads through the API: the two options of a read, and the switches where nobody knows."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .cells import CellValue, Choice, Formatted, Formula, Mixed, Picture, plain_text
from .switches import Switches

__all__ = ["UNKNOWN_TYPE", "Rendering", "picture_json"]

#: of cells that read as nothing that is documented
UNKNOWN_TYPE: Final = "somethingNew"
#: these two leave the token of a picture out
_WITHOUT_TOKEN: Final = ("ToString", "FormattedValue")
_RAW: Final = ("UnformattedValue", "Formula")


def picture_json(picture: Picture, spreadsheet: str, base_url: str) -> dict[str, Any]:
    """A picture as an object."""
    query = f"height=1280&mount_node_token={spreadsheet}&mount_point=sheet_image&policy=equal&width=1280"
    return {
        "fileToken": picture.token,
        "height": picture.height,
        "width": picture.width,
        "text": "",
        "type": "embed-image",
        "link": f"{base_url}/_standin/picture/{picture.token}?{query}",
    }


@dataclass(frozen=True)
class Rendering:
    """One read: what it asked for, and of which spreadsheet."""

    #: valueRenderOption
    option: str
    #: dateTimeRenderOption=FormattedString
    dates_as_text: bool
    switches: Switches
    spreadsheet: str
    base_url: str
    #: the tokens of the pictures that the API wrote
    written: Container[str]

    def cell(self, value: CellValue, *, unknown: bool = False) -> Any:
        """What the read gives for a cell."""
        if unknown and value is not None:
            return {"type": UNKNOWN_TYPE, "payload": {"content": plain_text(value)}}
        match value:
            case None:
                return "" if self.switches.blanks == "empty text" else None
            case Picture():
                shown = self._pictures([value])
                return shown if self.switches.picture_as_list and shown else next(iter(shown), self.cell(None))
            case Mixed():
                return self._parts(value.parts)
            case Formula():
                return self._formula(value)
            case Choice():
                return self._choice(value)
            case Formatted(date=True):
                return value.text if self._writes_dates_out() else value.value
            case Formatted() | bool() | int() | float():
                return self._number(value)
            case list() | dict() if self.option == "ToString":
                return plain_text(value)
        return value

    def rows(self, values: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """All that a read gives; what is empty at the end may be left out."""
        rows = [list(row) for row in values]
        if self.switches.blanks == "left out":
            for row in rows:
                _cut(row, None)
            _cut(rows, [])
        return rows

    def _parts(self, parts: Sequence[str | Picture]) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = []
        for part in parts:
            shown += self._pictures([part]) if isinstance(part, Picture) else [{"type": "text", "text": part}]
        return shown

    def _pictures(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        return [self._picture(one) for one in pictures if not self._hides(one)]

    def _hides(self, picture: Picture) -> bool:
        return self.switches.written_pictures == "hidden" and picture.token in self.written

    def _picture(self, picture: Picture) -> dict[str, Any]:
        tokenless = self.switches.written_pictures == "without token" and picture.token in self.written
        if self.option not in _WITHOUT_TOKEN and not tokenless:
            return picture_json(picture, self.spreadsheet, self.base_url)
        if self.switches.pictures_without_token == "id":
            # Downloads do not know it.
            return {"type": "embed-image", "id": f"standinId{picture.token[-5:]}"}
        return {"type": "embed-image", "height": picture.height, "width": picture.width, "text": ""}

    def _formula(self, formula: Formula) -> Any:
        how = self.switches.formula_cells
        if how == "object":
            return {"type": "formula", "text": formula.text, "value": self.cell(formula.value)}
        # With no option nothing is computed, says the page.
        itself = ("Formula", "") if how == "documented" else ("Formula",)
        return formula.text if self.option in itself else self.cell(formula.value)

    def _choice(self, choice: Choice) -> Any:
        how = self.switches.drop_downs if choice.several else self.switches.single_drop_downs
        if how == "object":
            return {"type": "multipleValue", "values": list(choice.values)}
        if how == "list":
            return list(choice.values)
        return plain_text(choice) if choice.several or len(choice.values) != 1 else self.cell(choice.values[0])

    def _number(self, number: Formatted | int | float) -> Any:
        plain = number.value if isinstance(number, Formatted) else number
        if self.option == "FormattedValue":
            return plain_text(number) if isinstance(number, Formatted) else number
        if self.option == "ToString" and self.switches.number_to_string != "number":
            return plain_text(number if self.switches.number_to_string == "shown" else plain)
        return plain

    def _writes_dates_out(self) -> bool:
        how = self.switches.date_texts
        if how == "formatted too" and self.option == "FormattedValue":
            return True
        return self.dates_as_text and not (how == "not raw" and self.option in _RAW)


def _cut(items: list[Any], blank: Any) -> None:
    while items and items[-1] == blank:
        items.pop()
