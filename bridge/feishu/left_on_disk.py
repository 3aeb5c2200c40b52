"""What has left for the sheet, and by which reading, on disk until somebody has looked where it went.

A program may be killed after a request has left and before it has looked. If rows or columns moved in that very moment,
another row says 已完成, and only the reading before tells which: the next publisher of this table looks, before it
writes anything.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ..settings import Columns, Settings
from ..table.files import TableFiles
from ..table.records import TaskRecord, now_text, parse_time
from .sheet import Merge, SheetTable, row_number_of
from .unseen import Kept, Left, Place, Reading

log = logging.getLogger("wfrecovery")

#: A later form has another name: what another version has left is its own to look for.
_NAME: Final = "left1-{}.json.z"
#: A sheet of 12,000 rows and 12 columns has some 13 MB. What unpacks to far more was not written by us.
_MOST_BYTES: Final = 256 * 1024 * 1024
#: After so many seconds people have edited so much that nothing can be told any more.
_LONGEST: Final = 7 * 86_400.0
#: Instead of the spreadsheet's token: a picture's cell holds an address with it, and ComfyUI hands out this file.
_INSTEAD: Final = "\ue000spreadsheet"


class LeftOnDisk:
    """Files beside a table's tasks, one for each sheet. Only who holds the publisher's lock uses them."""

    def __init__(self, files: TableFiles, settings: Settings) -> None:
        self._files, self._settings = files, settings
        self._looked = False

    def is_due(self) -> bool:
        """Once for each program, before its first look: whether another one has left something. Raises OSError."""
        due, self._looked = self.will_be_due(), True
        return due

    def will_be_due(self) -> bool:
        """What `is_due` will say. Raises OSError."""
        return not self._looked and any(map(is_one, self._files.disk.names(self._files.folder)))

    def keep(self, sheet_id: str, kept: Kept) -> None:
        """From now on it survives a kill and a power cut; nothing of it where there is nothing. Raises OSError."""
        path = self._path(sheet_id)
        if not kept.left and not kept.told:
            self._files.disk.unlink(path)
            return
        packer, token = zlib.compressobj(level=1), self._token
        parts = [packer.compress(text.replace(token, _INSTEAD).encode()) for text in _texts(kept)]
        self._files.atomic.write(path, b"".join([*parts, packer.flush()]))

    def of(self, sheet_id: str, task: Callable[[str], TaskRecord | None]) -> Kept | None:
        """What has left for that sheet; None where that cannot be read. `task`: a record by its id. Raises OSError."""
        self._looked, path = True, self._path(sheet_id)
        try:
            plain = json.loads(_unpacked(self._files.disk.read(path, _MOST_BYTES)).replace(_INSTEAD, self._token))
            kept_at = parse_time(plain["at"])
            found = [_left(one, task) for one in plain["left"]]
            told = {task_id: dict(_untold(cells, task(task_id), kept_at)) for task_id, cells in plain["told"].items()}
        except FileNotFoundError:
            return Kept()
        except (OSError, zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("[wfrecovery] %s cannot be read (%s: %s)%s", path, type(error).__name__, error, _NOT_LOOKED_FOR)
            return None
        if abs(time.time() - kept_at) > _LONGEST:
            log.warning("[wfrecovery] %s was written at %s%s", path, plain["at"], _NOT_LOOKED_FOR)
            self._files.disk.unlink(path)
            return Kept()
        left = [one for one in found if one.cells]
        is_less = len(left) < len(found) or told != plain["told"]
        return Kept(left, {task_id: cells for task_id, cells in told.items() if cells}, is_less)

    def _path(self, sheet_id: str) -> Path:
        return self._files.folder / _NAME.format(self._settings.sheet_key(sheet_id))

    @property
    def _token(self) -> str:
        return self._settings.spreadsheet or self._settings.feishu_spreadsheet_token


def is_one(name: str) -> bool:
    """Whether a file of that name is one of these."""
    before, after = _NAME.split("{}")
    return name.startswith(before) and name.endswith(after)


_NOT_LOOKED_FOR: Final = (
    ": what had left for the sheet then is not looked for → see that no row shows a status that is not its own"
)


def _untold(cells: Any, task: TaskRecord | None, kept_at: float) -> Iterator[tuple[str, int]]:
    """Those of the cells that a task's record does not tell yet, unless a person has wanted it pushed since."""
    for cell, row in cells.items():
        noted = task is not None and task.outbox.spoiled and cell in (task.outbox.last_error or "")
        if not noted and (task is None or parse_time(task.outbox.asked_at) <= kept_at):
            yield cell, int(row)


def _unpacked(data: bytes) -> str:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("it is cut off, or far too large")
    return text.decode()


def _texts(kept: Kept) -> Iterator[str]:
    """All of it as JSON, row by row: as one text a large sheet would take its memory twice, and stop ComfyUI's other
    threads until it is made."""
    yield f'{{"at": {json.dumps(now_text())}, "told": {json.dumps(kept.told)}, "left": ['
    for place, left in enumerate(kept.left):
        yield f'{", " if place else ""}{json.dumps(_plain(left))[:-1]}, "values": ['
        for row, cells in enumerate(left.earlier.sheet.values):
            yield f"{', ' if row else ''}{json.dumps(cells)}"
        yield "]}"
    yield "]}"


def _plain(left: Left) -> dict[str, Any]:
    """Without the cells of the sheet."""
    return {
        "key": left.key,
        "task_id": left.task_id,
        "cells": {address: [_plain_owner(owner), name, value] for address, (owner, name, value) in left.cells.items()},
        "sheet": _plain_sheet(left.earlier.sheet),
        "sent": {row: task.task_id for row, task in left.earlier.sent.items()},
    }


def _plain_sheet(sheet: SheetTable) -> dict[str, Any]:
    plain = {field.name: getattr(sheet, field.name) for field in dataclasses.fields(sheet) if field.name != "values"}
    made = {"columns": dataclasses.asdict(sheet.columns), "merges": list(map(dataclasses.asdict, sheet.merges))}
    return {**plain, "places": dict(sheet.places), **made}


def _plain_owner(owner: TaskRecord | Place) -> Any:
    return sorted(owner.hit) if isinstance(owner, Place) else owner.task_id


def _left(kept: Any, task: Callable[[str], TaskRecord | None]) -> Left:
    sheet = _sheet(kept["sheet"], kept["values"])
    cells: dict[str, tuple[TaskRecord | Place, str, Any]] = {}
    for address, (owner, name, value) in kept["cells"].items():
        found = task(owner) if isinstance(owner, str) else Place.of(sheet, row_number_of(address), frozenset(owner))
        if found is not None:  # else its record is gone: there is nothing to tell it in
            cells[address] = found, name, value
    sent = {int(row): found for row, task_id in kept["sent"].items() if (found := task(task_id)) is not None}
    earlier = Reading(sheet, sheet.revision, sent)
    return Left(cells, earlier, kept["task_id"], late=True, recalled=True, key=kept["key"])


def _sheet(kept: Any, values: Any) -> SheetTable:
    made = {
        "values": values,
        "columns": Columns(**kept["columns"]),
        "merges": [Merge(**merge) for merge in kept["merges"]],
        "size": tuple(kept["size"]),
    }
    return SheetTable(**{**kept, **made})
