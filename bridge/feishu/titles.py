"""Which column of a sheet a title of the settings means."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from ..settings import Columns

#: What stands beside a title's words: remarks in brackets, a number, marks; 名称 and 名字 are a 名, 图片 is a 图.
_BESIDE: Final = re.compile(r"（.*?）|\(.*?\)|【.*?】|\[.*?\]|[\W\d_]+|(?<=名)[称字]|(?<=图)片", re.DOTALL)


def only_meant(titles: Sequence[str], columns: Columns) -> dict[str, int]:
    """Column field → the index of the only column that may be meant; of several none is guessed."""
    return {field: found[0] for field, found in meant(titles, columns).items() if len(found) == 1}


def meant(titles: Sequence[str], columns: Columns) -> dict[str, list[int]]:
    """Column field → the columns that it may mean: those with its very title, as people read it, else those whose title
    says the same with something beside it. A longer word is another one: 负面提示词 is no 提示词 to pay for."""
    found = {}
    shown, said = [unbroken(title) for title in titles], [_essence(title) for title in titles]
    for field, wanted in dataclasses.asdict(columns).items():
        exact = [index for index, title in enumerate(shown) if title == unbroken(wanted)]
        alike = [index for index, title in enumerate(said) if title and title == _essence(wanted)]
        found[field] = (exact or alike) if wanted else []
    return found


def unbroken(title: str) -> str:
    """Without blanks and line breaks, which a narrow column makes people put in."""
    return "".join(title.split())


def _essence(title: str) -> str:
    return _BESIDE.sub("", title)
