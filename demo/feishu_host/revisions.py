"""`revision`: which number the answers carry, and when it goes up. Not thread-safe by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from .switches import Switches

__all__ = ["Revisions", "Who"]

#: who changes the sheet: a person, or the API with values or a picture
Who: TypeAlias = Literal["person", "values", "picture"]

#: by how much; one where nothing else stands
_STEPS: Final[Mapping[str, Mapping[Who, int]]] = {
    "pictures two": {"picture": 2},
    "two": {"picture": 2, "values": 2},
    "still": {"person": 0, "picture": 0, "values": 0},
}
#: the calls from one recalculation of the service to the next
_RESTLESS: Final = 3


class Revisions:
    """The numbers of a spreadsheet and of each of its sheets."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._book = 1
        self._sheets: Counter[str] = Counter()
        self._calls = 0

    def changed(self, who: Who, sheets: Iterable[str]) -> None:
        """A change is complete."""
        self._book += _STEPS.get(self._switches.revision, {}).get(who, 1)
        self._sheets.update(set(sheets))

    def called(self) -> None:
        """One more call of the API comes in: the service may have been at work by itself meanwhile."""
        self._calls += 1
        if self._switches.revision == "restless" and self._calls % _RESTLESS == 0:
            self._book += 1

    def of(self, sheet: str) -> int | None:
        """What an answer about this sheet says; None: nothing."""
        if self._switches.revision == "missing":
            return None
        return self._sheets[sheet] if self._switches.revision == "by sheet" else self._book
