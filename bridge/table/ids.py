"""Task ids that nobody else has or gets, also between processes: creating the file decides."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final

from ..wording import Wording
from .disk import DurabilityUnknownError
from .files import TableFiles, month_of
from .records import KINDS, TaskError, is_task_id

#: So far the numbers of a `main.py` with a table of its own may run ahead of ours. What is farther away no table has
#: counted up to: whoever went on from there would come to where no number is left.
_AHEAD: Final = 10_000
#: So many numbers others may have taken since the last claim, before it is looked how far they have come.
_FEW: Final = 100
#: The clocks of two programs, one of which may be in a container of another time zone, show dates as far apart.
_DAYS_APART: Final = 2


class TaskIds:
    """Claims ids. A claim is an empty file in `ids/`, gone when the record is there or the id is given back."""

    def __init__(self, files: TableFiles) -> None:
        self._files, self._disk = files, files.disk
        #: per prefix the last number claimed here, so that a claim needs no listing of the folders
        self._last_numbers: dict[str, int] = {}

    def claim(self, workflow_type: str | None, now: datetime | None = None, *, wanted: str | None = None) -> str:
        """A free id: `wanted` where that is free and one that this table may give itself soon, else the next one."""
        now = now or datetime.now().astimezone()
        if wanted is not None and self._may_come(wanted, now) and self._claimed(wanted):
            return wanted
        prefix = f"{KINDS[workflow_type]}_{now:%Y%m%d}_"
        for number in self._next_numbers(prefix):
            task_id = f"{prefix}{number:03}"
            if self._claimed(task_id):
                self._last_numbers[prefix] = number
                return task_id
        raise TaskError(Wording(f"no number is free for {prefix}…", f"{prefix}… 没有可用的编号"))

    def release(self, task_id: str) -> None:
        """Give an unused id back; a number that was not used is the next one again."""
        self.used(task_id)
        prefix, number = task_id[:13], int(task_id[13:])
        if self._last_numbers.get(prefix) == number:
            self._last_numbers[prefix] = number - 1

    def used(self, task_id: str) -> None:
        """The record is there: the claim has done its work."""
        self._disk.unlink(self._files.claim_path(task_id))

    def sweep(self) -> None:
        """Drop the claims of days that are over for everybody, and those whose record is there."""
        today = datetime.now().astimezone()
        days = [today + timedelta(days=apart) for apart in range(-_DAYS_APART, _DAYS_APART + 1)]
        recent = {f"{day:%Y%m%d}" for day in days}
        for name in self._disk.names(self._files.ids):
            if is_task_id(name) and (name[4:12] not in recent or self._files.path_of(name) is not None):
                self._files.atomic.discard(self._files.claim_path(name))

    def _claimed(self, task_id: str) -> bool:
        """Whether it is ours now; False where it is taken."""
        with contextlib.suppress(DurabilityUnknownError):  # after a power cut nobody has claimed anything
            self._files.atomic.make_folder(self._files.ids)
        try:
            self._disk.create(self._files.claim_path(task_id))
        except FileExistsError:
            return False
        # Looked up after the claim: whoever had it before wrote the record before dropping the claim.
        # What lies in quarantine keeps its id: its graph and its result may still be there.
        if self._files.path_of(task_id) is None and not self._disk.exists(self._files.quarantine_path(task_id)):
            return True
        self.used(task_id)
        return False

    def _next_numbers(self, prefix: str) -> Iterator[int]:
        """The numbers to try. One of them is free: those that are taken have been counted up to."""
        last = self._last_numbers.get(prefix)
        if last is not None:
            yield from range(last + 1, last + 1 + _FEW)
        yield from itertools.islice(itertools.count(self._highest_number(prefix) + 1), _AHEAD)

    def _may_come(self, wanted: str, now: datetime) -> bool:
        """Whether this table may give itself that id soon, or might have on a day gone by."""
        if not is_task_id(wanted):
            return False
        prefix, number = wanted[:13], int(wanted[13:])
        try:
            day = date.fromisoformat(f"{prefix[4:8]}-{prefix[8:10]}-{prefix[10:12]}")
        except ValueError:
            return False
        if day > (now + timedelta(days=1)).date() or wanted != f"{prefix}{number:03}" or number < 1:
            return False  # where the sender is, tomorrow may have begun
        return number <= _AHEAD or number <= self._highest_number(prefix) + _AHEAD

    def _highest_number(self, prefix: str) -> int:
        """How far it has been counted; a number that lies farther ahead is passed over."""
        month = month_of(f"{prefix}001")
        folders = (self._files.active, self._files.done / month, self._files.corrupt)
        claimed = filter(is_task_id, self._disk.names(self._files.ids))
        there = (*(name for folder in folders for name in self._files.ids_in(folder)), *claimed)
        highest = 0
        for number in sorted(int(name.removeprefix(prefix)) for name in there if name.startswith(prefix)):
            if number > highest + _AHEAD:
                break
            highest = number
        return highest
