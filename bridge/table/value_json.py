"""The small values of a record as JSON, and how single values of it are read. What cannot be read of one stays in its
`rest`, as what a newer program has written does."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from .disk import FileStamp
from .row_identity import PICTURES, TEXTS, RowIdentity
from .values import (
    FeishuState,
    Kind,
    NodeReport,
    Outbox,
    Owner,
    OwnerKind,
    QueuePlace,
    Result,
    Sent,
    StoryLine,
)

_T = TypeVar("_T")
Reader = Callable[[Any], Any]

# ---------------------------------------------------------------------- writing


def value_to_json(value: Any) -> dict[str, Any]:
    """One of the small values: what differs from its default, and what a newer program has written."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(value):
        held = getattr(value, item.name)
        if item.name != "rest" and held is not None and (held != item.default or item.default is dataclasses.MISSING):
            found[item.name] = _json_of(held)
    return {**plain(dict(value.rest)), **found}


def _json_of(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return value_to_json(value)
    if isinstance(value, tuple):
        return [_json_of(item) for item in value]
    return plain(value)


def plain(value: Any) -> Any:
    """`value` without numbers that JSON does not know: a page could not read them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


# ---------------------------------------------------------------------- reading


def value_from_json(cls: type[_T], data: Mapping[str, Any]) -> _T:
    """One of the small values; what cannot be read of it stays in `rest`."""
    readers = _READERS[cls]
    found: dict[str, Any] = {}
    rest = dict(data)
    for name, reader in readers.items():
        if rest.get(name) is not None:
            try:
                found[name] = reader(rest[name])
            except (ValueError, TypeError, KeyError):
                continue
        rest.pop(name, None)
    if rest:
        found["rest"] = rest
    return cls(**found)


def _exactly(*types: type) -> Reader:
    def read(value: Any) -> Any:
        if type(value) not in types:
            raise TypeError(value)
        return value

    return read


def _finite(value: Any) -> float:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise TypeError(value)


def texts(value: Any) -> tuple[str, ...]:
    return tuple(text(item) for item in json_list(value))


def _stamp(value: Any) -> FileStamp:
    changed_at, size, inode = map(number, json_list(value))
    return FileStamp(changed_at, size, inode)


def _kind(value: Any) -> str:
    """An owner of a kind that we do not know is an owner all the same."""
    known = [item for item in OwnerKind if item.value == value]
    return known[0] if known else str(text(value))


def _many(cls: type[_T]) -> Callable[[Any], tuple[_T, ...]]:
    return lambda value: tuple(value_from_json(cls, json_object(item)) for item in json_list(value))


def one(cls: type[_T]) -> Callable[[Any], _T]:
    return lambda value: value_from_json(cls, json_object(value))


text, number, flag = _exactly(str), _exactly(int), _exactly(bool)
json_object: Callable[[Any], dict[str, Any]] = _exactly(dict)
json_list: Callable[[Any], list[Any]] = _exactly(list)

_READERS: Final[Mapping[type, Mapping[str, Reader]]] = {
    Result: {
        **dict.fromkeys(("path", "node", "sha256"), text),
        "kind": Kind,
        "size": number,
        "stamp": _stamp,
        "given": flag,
    },
    QueuePlace: {
        **dict.fromkeys(("boot", "queued_at", "lost_boot", "started_by"), text),
        **dict.fromkeys(("number", "lost_number"), _finite),
        "parts": texts,
    },
    RowIdentity: dict.fromkeys((*TEXTS, *PICTURES, "record_id", "task_id"), lambda value: sys.intern(text(value))),
    Owner: {"kind": _kind, "boot": text},
    NodeReport: {"results": _many(Result), "done": flag, "unlisted": number},
    StoryLine: {"attempt": number, **dict.fromkeys(("at", "what", "node", "text", "text_zh"), text)},
    Sent: dict.fromkeys(("cell", "before", "sha256", "answered_at", "astray"), text),
    Outbox: {
        "state": FeishuState,
        "writing": one(Sent),
        "upload": json_object,
        "sent": texts,
        **dict.fromkeys(("spoiled", "row_named"), flag),
        **dict.fromkeys(("attempts", "refused", "sends", "status_sends", "order"), number),
        **dict.fromkeys(("last_error", "last_error_zh", "pushed_at", "next_try_at", "wait_until"), text),
        **dict.fromkeys(("status_before", "file", "by", "asked_at", "superseded_by"), text),
    },
}
