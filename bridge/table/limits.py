"""How much of a record is kept: what is too large or too deep for it is left out, the task itself never.

A client may send anything along with a prompt, and a prompt may write any number of files. A record that could not be
read again would be set aside and rebuilt at every look: without its attempts, and without its owner.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from ..redact import without_secret_texts
from .records import TaskRecord
from .row_identity import PICTURES, TEXTS
from .values import MADE_BY_NODES, NodeReport, Result

_T = TypeVar("_T")
_Listed = TypeVar("_Listed", Result, str)

#: Bytes of a record's file: more than all that is let through here can come to.
RECORD_BYTES: Final = 32 * 1024 * 1024
#: Letters of a name, of the name of a node in a list, and of any other text of our own; a cell of a sheet holds 50 000.
_NAME: Final = 1_000
_NODE: Final = 100
_TEXT: Final = 60_000
#: Bytes of the row's cells, and of what a newer program has added.
_ROW_BYTES: Final = 256 * 1024
_MORE_BYTES: Final = 256 * 1024
#: Bytes of all cells of a row as main.py has read them: a record is written again and again.
_CELLS_BYTES: Final = 32 * 1024
#: Letters of what a prompt lists: its files, the same as they come, node by node (2 500 or so: a film of a minute and a
#: half, picture by picture), those that are found after a crash, and ids.
_FILES: Final = 1024 * 1024
_FOUND: Final = 128 * 1024
_IDS: Final = 64 * 1024
#: And of one of these, beside its name.
_FILE: Final = 300
_LINE: Final = 50
#: What tells the row apart stays, also where the other cells are left out.
_IDENTITY: Final = ("row_number", *TEXTS, *PICTURES, "record_id", "document")
_ROW: Final = ("row_number", "product_name", "model_name", "workflow_type", "task_id", "feishu_row_data")
_TAG: Final = (*_ROW, "row", "publisher", "document", "sheet", "batch", "table")
#: Objects and lists inside one another.
_DEPTH: Final = 40


def bounded(record: TaskRecord) -> TaskRecord:
    """`record` as it is written: unchanged, apart from what no person and no sheet would hold, and without secrets."""
    results = _kept(map(_with_short_node, record.results), _FILES, record.outbox.file)
    return dataclasses.replace(
        _with_short_texts(record, _NAME),
        results=results,
        unlisted=record.unlisted + len(record.results) - len(results),
        nodes=_kept_reports(record.nodes),
        found=_kept(record.found, _FOUND),
        refused_by=_newest(record.refused_by),
        queue=record.queue and dataclasses.replace(record.queue, parts=_newest(record.queue.parts)),
        row=record.row and _with_short_texts(record.row, _TEXT),
        outbox=_with_short_texts(record.outbox, _TEXT),
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
        size = len(_json([title, value]))
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


def _with_short_texts(value: _T, most: int) -> _T:
    """One of a record's values, or the record: no text in it is longer than that."""
    held = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}  # type: ignore[arg-type]
    long = {name: text[:most] for name, text in held.items() if isinstance(text, str) and len(text) > most}
    return dataclasses.replace(value, **long) if long else value  # type: ignore[type-var]


def _with_short_node(result: Result) -> Result:
    """The name of a node that others have made, turn by turn, begins with the one that is in the graph."""
    node = result.node or ""
    return dataclasses.replace(result, node=node[:_NODE]) if len(node) > _NODE else result


def _kept(values: Iterable[_Listed], most: int, always: str | None = None) -> tuple[_Listed, ...]:
    """The first of them, for so many letters; the file with the path `always` in any case."""
    kept = []
    for value in values:
        most -= _letters(value) if most >= 0 else 0
        if most >= 0 or (always is not None and getattr(value, "path", None) == always):
            kept.append(value)
    return tuple(kept)


def _newest(ids: tuple[str, ...]) -> tuple[str, ...]:
    return _kept(reversed(ids), _IDS)[::-1]


def _kept_reports(nodes: Mapping[str, NodeReport]) -> dict[str, NodeReport]:
    """What ComfyUI has said of single nodes, the first of them. A node of which nothing is kept is one that has not
    ended; that nodes were made is never left out."""
    kept: dict[str, NodeReport] = {}
    room = _FILES
    for node in sorted(nodes, key=lambda node: node != MADE_BY_NODES):
        report = nodes[node]
        room -= _letters(node)
        if room < 0 and node != MADE_BY_NODES:
            break
        results = _kept(map(_with_short_node, report.results), room)
        room -= sum(map(_letters, results))
        left = len(report.results) - len(results)
        kept[node] = dataclasses.replace(report, results=results, unlisted=report.unlisted + left)
    return kept


def _fits(value: Any, most: int) -> bool:
    """Whether it can be written, and is of a size and depth that can be read again."""
    try:
        return _shallow(value) and len(_json(value)) <= most
    except (TypeError, ValueError, RecursionError):
        return False


def _letters(value: Result | str) -> int:
    """How many one thing in a list takes, about: a file stands there by its name, and with all that is known of it."""
    return _FILE + 2 * len(value.path) if isinstance(value, Result) else _LINE + len(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


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
