"""How much of a record is kept: what is too large or too deep for it is left out, the task itself never.

A client may send anything along with a prompt. A record that could not be read again would be set aside and rebuilt at
every look.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from ..redact import without_secret_texts
from .records import TaskRecord
from .row_identity import PICTURES, TEXTS

#: Letters of a name, and of any other text of our own; a cell of a sheet holds 50 000.
_NAME: Final = 1_000
_TEXT: Final = 60_000
#: Bytes of the row's cells, and of what a newer program has added.
_ROW_BYTES: Final = 256 * 1024
_MORE_BYTES: Final = 256 * 1024
#: Bytes of all cells of a row as main.py has read them: a record is written again and again.
_CELLS_BYTES: Final = 32 * 1024
#: What tells the row apart stays, also where the other cells are left out.
_IDENTITY: Final = ("row_number", *TEXTS, *PICTURES, "record_id", "document")
_ROW: Final = ("row_number", "product_name", "model_name", "workflow_type", "task_id", "feishu_row_data")
_TAG: Final = (*_ROW, "row", "publisher", "document", "sheet", "batch", "table")
#: Objects and lists inside one another.
_DEPTH: Final = 40


def bounded(record: TaskRecord) -> TaskRecord:
    """`record` as it is written: unchanged, apart from what no person and no sheet would hold, and without secrets."""
    return dataclasses.replace(
        record,
        product_name=record.product_name[:_NAME],
        model_name=record.model_name[:_NAME],
        title=record.title and record.title[:_NAME],
        problem=record.problem and record.problem[:_NAME],
        error_message=record.error_message and record.error_message[:_TEXT],
        error_message_zh=record.error_message_zh and record.error_message_zh[:_TEXT],
        row_data=bounded_row(without_secret_texts(record.row_data)),
        more=record.more if _fits(record.more, _MORE_BYTES) else {"left_out": "too large"},
        rest=record.rest if _fits(record.rest, _MORE_BYTES) else {},
    )


def bounded_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row's cells; where they are too large, what tells the row apart."""
    if _fits(row, _ROW_BYTES):
        return row
    kept = {name: row[name] for name in _IDENTITY if name in row}
    texts = {name: value[:_TEXT] if isinstance(value, str) else value for name, value in kept.items()}
    small = {name: value for name, value in texts.items() if isinstance(value, str | int | float | None)}
    return {**small, "left_out": "the row's other cells were too large for the record"}


def kept_cells(cells: Mapping[str, Any]) -> dict[str, Any]:
    """A row's cells by title, as a record keeps them: without secrets, a value that is no JSON by its text, and by
    title alone (`left_out`) those for which there is no room."""
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    room = _CELLS_BYTES
    for title, cell in without_secret_texts(cells).items():
        fits = _fits({"feishu_row_data": {"original_data": [cell]}}, _CELLS_BYTES)  # as deep as it will lie
        value = cell if fits else str(cell)[:_NAME]
        size = len(json.dumps([title, value], ensure_ascii=False).encode("utf-8", "backslashreplace"))
        if size > room:
            left_out.append(str(title)[:_NAME])
        else:
            kept[title] = value
            room -= size
    return {**kept, "left_out": left_out[:100]} if left_out else kept


def bounded_tag(tag: Any) -> Any:
    """What a client says of a row, as it may go through ComfyUI's queue: that copies each item, and a value that is
    nested too deeply for its copy ends its worker."""
    if not isinstance(tag, Mapping):
        return tag if _fits(tag, _TEXT) else [] if isinstance(tag, list | tuple) else str(tag)[:_TEXT]
    texts = {name: value[:_TEXT] if isinstance(value, str) else value for name, value in tag.items()}
    row = texts.pop("feishu_row_data", None)
    kept = {name: value for name, value in texts.items() if _fits(value, _TEXT)}
    if isinstance(row, Mapping):
        kept["feishu_row_data"] = bounded_row(row)
    bound = kept if _fits(kept, _MORE_BYTES + _ROW_BYTES) else {name: kept[name] for name in _TAG if name in kept}
    return tag if bound == tag else bound


def _fits(value: Any, most: int) -> bool:
    """Whether it can be written, and is of a size and depth that can be read again."""
    if not _shallow(value):
        return False
    try:
        return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")) <= most
    except (TypeError, ValueError, RecursionError):
        return False


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        inner = (item.values() if isinstance(item, Mapping) else item for item in level if _is_nest(item))
        level = [item for items in inner for item in items]
        if not level:
            return True
    return False


def _is_nest(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)
