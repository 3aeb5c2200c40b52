"""Graphs as JSON that every program can read: numbers that JSON does not know (NaN, Infinity) stand beside them.

ComfyUI takes such numbers from a client, and a graph that is queued again has to be the one that was sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

#: Key beside the graph: [[path, "NaN"], …].
KEY: Final = "special_numbers"
_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_plain(data: dict[str, Any]) -> dict[str, Any]:
    """`data` without such numbers, and where they stood. Raises RecursionError for what is nested without end."""
    special = [[path, _word(number)] for path, number in _special(data, ())]
    return {**_without(data), KEY: special} if special else data


def from_plain(data: dict[str, Any]) -> dict[str, Any]:
    """The same with its numbers back in their places."""
    special = data.pop(KEY, None)
    for path, word in special if isinstance(special, list) else ():
        holder: Any = data
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = _WORDS[word]
    return data


def _special(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[list[str | int], float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield list(path), value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _special(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _special(item, (*path, index))


def _without(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item) for item in value]
    return value


def _word(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
