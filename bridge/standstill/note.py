"""What the group was told of, kept beside the table: for all programs that share it, over their restarts.

standstill.json     by key: what stood, since when, and when the group was told
moving              touched while a render reports progress, which only the program hears that renders
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..table.database import WorkflowDatabase
from ..table.disk import DurabilityUnknownError
from ..table.records import now_text

#: So much is remembered; the oldest is forgotten first.
MOST_KEYS: Final = 50
#: So many tasks stand for all of them.
MOST_TASKS: Final = 50
_MOST_BYTES: Final = 256 * 1024
#: Seconds that the table's lock is waited for.
_PATIENCE: Final = 1.0


@dataclass(frozen=True)
class Told:
    """One thing that the group was told of."""

    #: when it was told
    at: str = ""
    since: str = ""
    #: some of the tasks
    tasks: tuple[str, ...] = ()
    #: the processes whose tasks they are, by their boot tokens
    owners: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Any) -> Told:
        """As it stands in the file; what cannot be read is left out."""
        data = data if isinstance(data, dict) else {}
        at, since = (str(data.get(name) or "") for name in ("at", "since"))
        tasks, owners = (data.get(name) for name in ("tasks", "owners"))
        return cls(at, since, _texts(tasks), _texts(owners))


class Note:
    """The two files of one table."""

    def __init__(self, table: WorkflowDatabase) -> None:
        self._table, self._files = table, table.files
        self._path, self._moving = table.folder / "standstill.json", table.folder / "moving"

    def read(self) -> dict[str, Told]:
        """By key what the group was told of. A file that is damaged or gone tells nothing."""
        try:
            data = json.loads(self._files.disk.read(self._path, _MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        told = data.get("told") if isinstance(data, dict) else None
        return {str(key): Told.of(value) for key, value in told.items()} if isinstance(told, dict) else {}

    def claim(self, told: Mapping[str, Told]) -> frozenset[str]:
        """Note that this process tells these; returns those that nobody had noted before, and only this one tells.

        Raises OSError where the table cannot be written, or its lock is held.
        """
        with self._changing():
            before = self.read()
            new = frozenset(told.keys() - before.keys())
            if new:
                now = now_text()
                self._write({**before, **{key: Told(now, *_rest(told[key])) for key in told if key in new}})
        return new

    def forget(self, keys: Iterable[str]) -> None:
        """These are over, or were not told after all. Raises OSError as `claim` does."""
        with self._changing():
            before = self.read()
            left = {key: value for key, value in before.items() if key not in set(keys)}
            if left != before:
                self._write(left)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Under the table's lock. What is not confirmed is there: after a power cut somebody may be told twice."""
        with contextlib.suppress(DurabilityUnknownError), self._table.locked(_PATIENCE):
            yield

    def _write(self, told: Mapping[str, Told]) -> None:
        newest = sorted(told.items(), key=lambda item: item[1].at)[-MOST_KEYS:]
        data = {"told": {key: asdict(value) for key, value in newest}}
        self._files.atomic.write(self._path, json.dumps(data, ensure_ascii=False, indent=1).encode())

    # ------------------------------------------------------------------ progress

    def moved(self) -> None:
        """Show all programs that something moves which no record tells of. Raises OSError."""
        self._files.atomic.make_folder(self._table.folder)
        try:
            self._files.disk.create(self._moving)
        except FileExistsError:
            os.utime(self._moving)

    def moves(self) -> int | None:
        """Another number each time that somebody has shown it."""
        return self._files.disk.changed_at(self._moving)


def _texts(items: object) -> tuple[str, ...]:
    return tuple(map(str, items[:MOST_TASKS])) if isinstance(items, list) else ()


def _rest(told: Told) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return told.since, told.tasks[:MOST_TASKS], told.owners[:MOST_TASKS]
