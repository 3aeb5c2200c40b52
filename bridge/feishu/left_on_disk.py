"""What has left for the sheet, and by which reading, on disk until somebody has looked where it went.

A program may be killed after a request has left and before it has looked. If rows or columns moved in that very moment,
another row says 已完成, and only the reading before tells which: the next publisher of this table looks, before it
writes anything.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from ..settings import Columns, Settings
from ..table.files import TableFiles
from ..table.records import TaskRecord
from .sheet import Merge, SheetTable, row_number_of
from .unseen import Left, Place, Reading, Told

log = logging.getLogger("wfrecovery")

FILE_NAME: Final = "left.json.z"
_SCHEMA: Final = 1
#: A sheet of 12,000 rows and 12 columns has some 6 MB. What unpacks to far more was not written by us.
_MOST_BYTES: Final = 256 * 1024 * 1024
#: Instead of the spreadsheet's token: a picture's cell holds an address with it, and ComfyUI hands out this file.
_INSTEAD: Final = "\ue000spreadsheet\ue000"


class LeftOnDisk:
    """The file beside a table's tasks. Only who holds the publisher's lock uses it."""

    def __init__(self, files: TableFiles, settings: Settings) -> None:
        """What has left for another document than these settings' is not looked for in it."""
        self._files, self._settings = files, settings
        self._path = files.folder / FILE_NAME

    def keep(self, left: Sequence[Left], told: Told) -> None:
        """From now on it survives a kill and a power cut; nothing of it where there is nothing. Raises OSError."""
        if not left and not told:
            self._files.disk.unlink(self._path)
            return
        document = self._settings.document
        kept = {"schema": _SCHEMA, "document": document, "left": [_plain(one) for one in left], "told": told}
        text = json.dumps(kept, ensure_ascii=False).replace(self._token, _INSTEAD)
        self._files.atomic.write(self._path, zlib.compress(text.encode(), level=1))

    def others(
        self, known: Collection[Left], sheet_id: str, task: Callable[[str], TaskRecord | None]
    ) -> tuple[list[Left], Told]:
        """What has left for that sheet and is not `known` here, and what is to be told. Raises OSError."""
        try:
            kept = json.loads(_unpacked(self._files.disk.read(self._path)).replace(_INSTEAD, self._token))
            if kept["schema"] != _SCHEMA or kept["document"] != self._settings.document:
                return [], {}
            keys = {left.key for left in known}
            found = [_left(one, task) for one in kept["left"] if one["key"] not in keys]
            told = {task_id: {cell: int(row) for cell, row in cells.items()} for task_id, cells in kept["told"].items()}
        except FileNotFoundError:
            return [], {}
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning(
                "[wfrecovery] %s cannot be read (%s: %s): what left for the sheet before this start is not looked for "
                "→ see that no row shows a status that is not its own",
                self._path,
                type(error).__name__,
                error,
            )
            return [], {}
        return [left for left in found if left.cells and left.earlier.sheet.sheet_id == sheet_id], told

    @property
    def _token(self) -> str:
        return self._settings.spreadsheet or self._settings.feishu_spreadsheet_token


def _unpacked(data: bytes) -> str:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("it is cut off, or far too large")
    return text.decode()


def _plain(left: Left) -> dict[str, Any]:
    return {
        "key": left.key,
        "task_id": left.task_id,
        "cells": {address: [_plain_owner(owner), name, value] for address, (owner, name, value) in left.cells.items()},
        "sheet": _plain_sheet(left.earlier.sheet),
        "sent": {row: task.task_id for row, task in left.earlier.sent.items()},
    }


def _plain_sheet(sheet: SheetTable) -> dict[str, Any]:
    plain = {field.name: getattr(sheet, field.name) for field in dataclasses.fields(sheet)}
    made = {"columns": dataclasses.asdict(sheet.columns), "merges": list(map(dataclasses.asdict, sheet.merges))}
    return {**plain, "places": dict(sheet.places), **made}


def _plain_owner(owner: TaskRecord | Place) -> Any:
    return sorted(owner.hit) if isinstance(owner, Place) else owner.task_id


def _left(kept: Any, task: Callable[[str], TaskRecord | None]) -> Left:
    sheet = _sheet(kept["sheet"])
    cells: dict[str, tuple[TaskRecord | Place, str, Any]] = {}
    for address, (owner, name, value) in kept["cells"].items():
        found = task(owner) if isinstance(owner, str) else Place.of(sheet, row_number_of(address), frozenset(owner))
        if found is not None:  # else its record is gone: there is nothing to tell it in
            cells[address] = found, name, value
    sent = {int(row): found for row, task_id in kept["sent"].items() if (found := task(task_id)) is not None}
    earlier = Reading(sheet, sheet.revision, sent)
    return Left(cells, earlier, kept["task_id"], late=True, key=kept["key"])


def _sheet(kept: Any) -> SheetTable:
    made = {
        "columns": Columns(**kept["columns"]),
        "merges": [Merge(**merge) for merge in kept["merges"]],
        "size": tuple(kept["size"]),
    }
    return SheetTable(**{**kept, **made})
