"""What a cell of the sheet says, whoever has read it and however; and when two texts say the same.

A number, percentage or date reads as a value under one render option and as a formatted text under another, a
drop-down as a text, a list or an object. What is not understood is told from what is empty: it matches nothing, and
nothing is written over it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

#: Objects that read as their `text` (Feishu: writing values, types).
_WITH_TEXT: Final = ("text", "url", "mention", "email", None)
#: Marks a text that looks like a number and is none.
_LITERAL: Final = "\1"
#: A picture of which the answer does not say which: some render options drop the token.
UNNAMED_PICTURE: Final = "?"

_NUMBER: Final = re.compile(
    r"(?P<sign>[+-]?)(?:[¥￥$€£]\s?)?(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<part>\d+))?(?P<exponent>[eE][+-]?\d{1,2})?"
    r"(?P<percent>\s?%)?"
)
_DATE: Final = re.compile(
    r"(\d{4})\s?[-/.年]\s?(\d{1,2})\s?[-/.月]\s?(\d{1,2})\s?日?(?:[T\s]\s?(\d{1,2}):(\d{2})(?::(\d{2}))?)?"
)
_BETWEEN_WORDS: Final = re.compile(r"[\s,，、;；]+")
#: Longer texts are no number and no date.
_LONGEST_VALUE: Final = 40
#: No digit of such a text is rounded away, however it is written.
_EXACT: Final = Context(prec=200)
#: Spreadsheets count days from here (Feishu: writing values, dates).
_FIRST_DAY: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - a day of the sheet, of no time zone
_DAY: Final = 86_400


def words_in(text: str) -> list[str]:
    """The words of a text, however they are set apart."""
    return [word for word in _BETWEEN_WORDS.split(text) if word]


def read_cell(cell: Any) -> str | None:
    """What a person reads in a cell, "" where it holds nothing or a picture; None for a shape that is not understood,
    a formula among them: nobody knows what it shows."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, int | float):
        return _number_text(cell)
    if isinstance(cell, list):
        return _list_text(cell)
    return _object_text(cell) if isinstance(cell, Mapping) else None


def cell_text(cell: Any) -> str:
    """The same, "" also for what is not understood."""
    return read_cell(cell) or ""


def one_named(shown: str | None) -> bool:
    """Whether a cell shows one picture, of which the answer says which. `shown`: what `pictures_in` gives, joined."""
    return shown is not None and UNNAMED_PICTURE not in shown and "," not in shown


def pictures_in(cell: Any) -> tuple[str, ...]:
    """The tokens of the pictures that a cell shows, in order; Feishu never uses a token twice."""
    parts = cell if isinstance(cell, list) else [cell]
    return tuple(str(part.get("fileToken") or UNNAMED_PICTURE) for part in parts if _is_picture(part))


def addresses_in(cell: Any) -> set[str]:
    """Where the links of a cell lead."""
    parts = cell if isinstance(cell, list) else [cell]
    return {str(part["link"]) for part in parts if isinstance(part, Mapping) and part.get("link")}


def picture_token(cell: Any) -> str:
    """The token of the picture that a cell shows, of the first where there are several, in whatever form it was read:
    for `FeishuClient.download_media`. Raises ValueError where it shows none, or the answer does not say which."""
    tokens = pictures_in(cell)
    if not tokens or tokens[0] == UNNAMED_PICTURE:
        raise ValueError(f"the cell shows no picture that can be downloaded: {cell_text(cell)[:60]!r}")
    return tokens[0]


def is_picture(cell: Any) -> bool:
    """Whether the cell shows a picture, alone or beside a text (Feishu: sheets FAQ 8)."""
    return bool(pictures_in(cell))


def same_text(text: str) -> str:
    """`text` as two cells are compared: line breaks and runs of blanks count as one blank."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def literal(cell: Any, text: str) -> str:
    """`text`, that `cell` says, marked where the cell holds that very text: it reads so under every option. A number or
    percentage is held as a number, and a date reads as a text, so that others may have read them otherwise."""
    return _LITERAL + text if isinstance(cell, str) and _NUMBER.fullmatch(text) else text


def without_mark(text: str) -> str:
    """A text as a person reads it."""
    return text.removeprefix(_LITERAL)


@lru_cache(maxsize=65_536)
def value_text(text: str) -> str:
    """`text`, as `same_text` gives it, by what it stands for: equal for all ways in which one cell can be read.

    15% and 0.15, 1,234.50 and 1234.5, 007 and 7, 2026/11/28 and the number of that day, TRUE and True.
    """
    text = without_mark(text)
    if len(text) > _LONGEST_VALUE:
        return text
    value = _value(text)
    if value is not None:
        return f"{value:f}"
    if text.casefold() in ("true", "false"):
        return text.casefold()
    return re.sub(r" ?, ?", ",", text)


def agree(one: str, other: str) -> bool:
    """Whether two texts, as `same_text` or `literal` give them, can be two readings of one cell."""
    if one.startswith(_LITERAL) or other.startswith(_LITERAL):
        return without_mark(one) == without_mark(other)
    return one == other or value_text(one) == value_text(other) or _rounded(one, other) or _rounded(other, one)


def _rounded(shown: str, whole: str) -> bool:
    """Whether `shown` is a percentage that rounds the number in `whole`. Only there: 1 is another name than 1.2."""
    if not shown.endswith("%") or max(len(shown), len(whole)) > _LONGEST_VALUE:
        return False
    found, rounded, value = _NUMBER.fullmatch(shown), _value(shown), _value(whole)
    if found is None or rounded is None or value is None:
        return False
    return abs(rounded - value) * 2 <= Decimal(1).scaleb(-2 - len(found["part"] or ""))


def _value(text: str) -> Decimal | None:
    """The number that a text stands for; a date is the number of its day."""
    if (number := _NUMBER.fullmatch(text)) is not None:
        digits = f"{number['sign']}{number['whole'].replace(',', '')}.{number['part'] or 0}{number['exponent'] or ''}"
        try:
            value = Decimal(digits).scaleb(-2 if number["percent"] else 0, _EXACT)
        except InvalidOperation:
            return None
        return _plain(value)
    if (date := _DATE.fullmatch(text)) is not None:
        try:
            moment = datetime(*(int(part or 0) for part in date.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
        except ValueError:
            return None
        since = moment - _FIRST_DAY
        return _plain(Decimal(since.days) + (Decimal(since.seconds) / _DAY).quantize(Decimal("1e-6")))
    return None


def _plain(value: Decimal) -> Decimal:
    """Without zeros at the end, without an exponent, and without a sign where it is nothing."""
    value = _EXACT.add(value, Decimal(0)).normalize(_EXACT)
    return value.quantize(Decimal(1), context=_EXACT) if value == value.to_integral_value() else value


def _number_text(number: float) -> str:
    if isinstance(number, float) and number.is_integer():
        return str(int(number))
    text = repr(number)
    return f"{Decimal(text):f}" if "e-" in text else text


def _list_text(parts: list[Any]) -> str | None:
    """Segments of rich text follow one another; the values of a drop-down stand beside one another."""
    texts = [read_cell(part) for part in parts]
    if None in texts:
        return None
    between = "" if any(isinstance(part, Mapping) for part in parts) else ","
    return between.join(text for text in texts if text)


def _object_text(cell: Mapping[str, Any]) -> str | None:
    kind = cell.get("type")
    if _is_picture(cell):
        return ""
    if kind == "multipleValue" and isinstance(cell.get("values"), list):
        return _list_text(cell["values"])
    if kind in _WITH_TEXT and isinstance(cell.get("text"), str | int | float):
        return read_cell(cell["text"])
    return None


def _is_picture(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "embed-image"
