"""What people read, in the two languages of the teams that use it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """One message in English (logs, scripts) and Chinese (the people at the sheet)."""

    en: str
    zh: str

    def __str__(self) -> str:
        return self.en

    def __add__(self, other: Wording | str) -> Wording:
        other = wording_of(other)
        return Wording(self.en + other.en, self.zh + other.zh)

    def __bool__(self) -> bool:
        return bool(self.en)

    def text(self, language: str) -> str:
        """In `language`: Chinese for anything that begins with zh, else English."""
        return self.zh if language.lower().startswith("zh") else self.en

    def changed(self, change: Callable[[str], str]) -> Wording:
        """Both languages passed through `change`, for example to hide secrets."""
        return Wording(change(self.en), change(self.zh))


def wording_of(what: Wording | str) -> Wording:
    """A text that is the same in both languages (a server's own words, a file name) as a Wording."""
    return what if isinstance(what, Wording) else Wording(what, what)


def width(text: str) -> int:
    """Screen cells: two for a Chinese character, none for a combining mark."""
    return sum(
        0
        if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Cc")
        # what is "ambiguous" (· … ✓) is one cell wide in terminals
        else 2
        if unicodedata.east_asian_width(letter) in ("W", "F")
        else 1
        for letter in text
    )
