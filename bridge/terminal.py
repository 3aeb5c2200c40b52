"""What a terminal asks of us: the reader's language, columns that align with wide characters, a progress bar."""

from __future__ import annotations

import locale
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

from .wording import width

LANGUAGES: Final = ("en", "zh")
#: Screen cells of a progress bar.
_BAR: Final = 30


def language_of(asked: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """`asked`, else WFRECOVERY_LANGUAGE, else what the system speaks; everything that is not Chinese is English."""
    environ = os.environ if environ is None else environ
    names = ("WFRECOVERY_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
    spoken = asked or next((environ[name] for name in names if environ.get(name)), None)
    # Windows has none of these, and calls it "Chinese (Simplified)_China".
    spoken = (spoken or locale.getlocale()[0] or "").lower()
    return "zh" if spoken.startswith(("zh", "chinese")) else "en"


def cut(text: str, cells: int) -> str:
    """`text` in at most `cells`, with … where something is missing."""
    if width(text) <= cells:
        return text
    kept, used = "", 1
    for letter in text:
        used += width(letter)
        if used > cells:
            break
        kept += letter
    return f"{kept}…"


def printable(text: str) -> str:
    """`text` without what a terminal would obey: a cell of the sheet, or a node's message, may hold anything. Blanks of
    any width stay, and what joins two emojis to one."""
    return "".join(
        letter
        for letter in text
        if letter.isprintable() or letter in "\n\u200d" or unicodedata.category(letter) == "Zs"
    )


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], widest: int = 40) -> list[str]:
    """Lines with aligned columns, the titles first; longer cells than `widest` are cut."""
    cells = [[cut(" ".join(cell.split()), widest) for cell in row] for row in (titles, *rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(titles))]
    return [
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


class ProgressBar:
    """One line that says how far something is; draws only where a person looks on."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what, self._stream = what, stream or sys.stderr
        self._drawn = ""

    def show(self, done: int, total: int) -> None:
        """Draw it anew where it has changed."""
        if not total or not self._stream.isatty():
            return
        filled = "█" * (_BAR * min(done, total) // total)
        line = f"{self._what} [{filled:<{_BAR}}] {done}/{total}"
        if line != self._drawn:
            self._stream.write(f"\r{line}")
            self._stream.flush()
            self._drawn = line

    def end(self) -> None:
        """Leave the line as it is."""
        if self._drawn:
            self._stream.write("\n")
            self._drawn = ""
