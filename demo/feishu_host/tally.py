"""What has happened since a moment: calls by operation, and pictures that were stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Sized

from .service import Call

__all__ = ["Tally"]


class Tally:
    """Counts from when it was made on; made by `FeishuStandIn.tally`."""

    def __init__(self, calls: Sequence[Call], pictures: Sized) -> None:
        self._all_calls, self._all_pictures = calls, pictures
        self._calls_before, self._pictures_before = len(calls), len(pictures)

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was called, however that ended: `tally.calls["values_image"]`."""
        return Counter(call.operation for call in self._new())

    @property
    def codes(self) -> Counter[tuple[str, int | None]]:
        """The same by operation and code; None: no code was answered."""
        return Counter((call.operation, call.code) for call in self._new())

    @property
    def pictures(self) -> int:
        """How many of the spreadsheet's 4,000 tokens were used up, seen or not."""
        return len(self._all_pictures) - self._pictures_before

    def _new(self) -> Sequence[Call]:
        return self._all_calls[self._calls_before :]
