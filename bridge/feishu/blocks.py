"""Blocks of cells as they are read, and how several reads become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .errors import FeishuError, Remedy

#: Rows of cells, and the spreadsheet's revision as the answer tells it.
Block: TypeAlias = tuple[list[list[Any]], int | None]


def in_halves(read: Callable[[int, int], Block], first: int, last: int) -> Block:
    """What `read` gives for these rows; in halves where the answer would be too large."""
    try:
        return read(first, last)
    except FeishuError as error:
        if error.remedy is not Remedy.SPLIT or first == last:
            raise
    middle = (first + last) // 2
    upper, revision = in_halves(read, first, middle)
    upper += [[] for _ in range(middle - first + 1 - len(upper))]  # blank rows at the end may be left out
    lower, _ = in_halves(read, middle + 1, last)
    return upper + lower, revision  # the older one: what changed between the two readings is noticed


def oldest(revisions: Sequence[int | None]) -> int | None:
    """Of several reads: what changed between two of them is noticed. None where one does not tell."""
    known = [revision for revision in revisions if revision is not None]
    return min(known) if len(known) == len(revisions) else None


def beside(left: list[list[Any]], right: list[list[Any]], width: int) -> list[list[Any]]:
    """Two blocks of columns as one; `left` is `width` wide, short rows are filled up."""
    joined = []
    for index in range(max(len(left), len(right))):
        row = list(left[index] or ()) if index < len(left) else []
        row += [None] * (width - len(row))
        joined.append(row + list((right[index] or ()) if index < len(right) else ()))
    return joined
