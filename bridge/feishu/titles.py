"""Which column of a sheet a title of the settings means."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from ..settings import Columns

#: What may stand beside a title's words: remarks in brackets, a number, marks.
_BESIDE: Final = re.compile(r"（.*?）|\(.*?\)|【.*?】|\[.*?\]|[\W\d_]+", re.DOTALL)
#: How the last word of a title may go on: 名称 and 名字 are a 名, 图片 is a 图.
_GOES_ON: Final = {"名": ("称", "字"), "图": ("片",)}


def only_meant(titles: Sequence[str], columns: Columns) -> dict[str, int]:
    """Column field → the index of the only column that may be meant; of several none is guessed."""
    return {field: found[0] for field, found in meant(titles, columns).items() if len(found) == 1}


def meant(titles: Sequence[str], columns: Columns) -> dict[str, list[int]]:
    """Column field → the columns that it may mean: those with its very title, as people read it, else those whose title
    has something beside it, and is no other field's. A longer word is another one: 负面提示词 is no 提示词."""
    wanted = {field: unbroken(title) for field, title in dataclasses.asdict(columns).items()}
    shown = [unbroken(title) for title in titles]
    free = [(index, title) for index, title in enumerate(shown) if title not in wanted.values()]
    return {
        field: [index for index, title in enumerate(shown) if title == own]
        or [index for index, title in free if _says(title, own)]
        if own
        else []
        for field, own in wanted.items()
    }


def unbroken(title: str) -> str:
    """Without blanks and line breaks, which a narrow column makes people put in."""
    return "".join(title.split())


def _says(title: str, wanted: str) -> bool:
    """Whether a title says that, with nothing but something beside it."""
    before, found, after = title.partition(wanted)
    after = after[1:] if after[:1] in _GOES_ON.get(wanted[-1], ()) else after
    beside = not _BESIDE.sub("", before) and not _BESIDE.sub("", after)
    return bool(found) and beside and not _is_cut(before, wanted) and not _is_cut(wanted, after)


def _is_cut(before: str, after: str) -> bool:
    """Whether a number goes on from one into the other: it is another number."""
    return before[-1:].isdigit() and after[:1].isdigit()
