"""Task ids that nobody else has or gets, also between processes: creating the file decides."""

from __future__ import annotations

from datetime import datetime

from .files import TableFiles, month_of
from .records import KINDS, is_task_id


class TaskIds:
    """Claims ids. A claim is an empty file in `ids/`, gone when the record is there or the id is given back."""

    def __init__(self, files: TableFiles) -> None:
        self._files, self._disk = files, files.disk
        #: per prefix the last number claimed here, so that a claim needs no listing of the folders
        self._last_numbers: dict[str, int] = {}

    def claim(self, workflow_type: str | None, now: datetime | None = None, *, wanted: str | None = None) -> str:
        """A free id: `wanted` where that is free, else the next one."""
        if wanted is not None and self._claimed(wanted):
            return wanted
        prefix = f"{KINDS[workflow_type]}_{(now or datetime.now().astimezone()):%Y%m%d}_"
        self._files.atomic.make_folder(self._files.ids)
        number = self._last_numbers.get(prefix) or self._highest_number(prefix)
        while True:
            number += 1
            task_id = f"{prefix}{number:03}"
            if self._claimed(task_id):
                self._last_numbers[prefix] = number
                return task_id

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
        """Drop the claims of days gone by, and those whose record is there."""
        today = f"{datetime.now().astimezone():%Y%m%d}"
        for name in self._disk.names(self._files.ids):
            if is_task_id(name) and (today not in name or self._files.path_of(name) is not None):
                self.used(name)

    def _claimed(self, task_id: str) -> bool:
        if not is_task_id(task_id):
            return False
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

    def _highest_number(self, prefix: str) -> int:
        month = month_of(f"{prefix}001")
        folders = (self._files.active, self._files.done / month, self._files.corrupt)
        there = (
            *(name for folder in folders for name in self._files.ids_in(folder)),
            *self._disk.names(self._files.ids),
        )
        return max((int(name.removeprefix(prefix)) for name in there if name.startswith(prefix)), default=0)
