"""What tells a row of the sheet apart, and the one comparison of two rows that everybody uses.

There are two kinds: what went into the render (提示词, the pictures of product and model), and labels (the names of
product and model). What one side does not know tells nothing. Row numbers tell nothing either: rows move.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from .cells import UNNAMED_PICTURE, agree, pictures_in, read_cell, same_text, value_text, without_mark
from .rows import RowData

#: A longer text is kept as its beginning and a digest of the whole: a row costs the same whatever was written into it.
LONGEST: Final = 1000
_SHORTENED: Final = re.compile(rf".{{{LONGEST}}}…[0-9a-f]{{64}}", re.DOTALL)
#: Begins what stands in the place of a cell that is not understood: it is like nothing else.
UNCLEAR: Final = "\0"
#: Parts that are texts, and parts that are pictures.
TEXTS: Final = ("product_name", "model_name", "prompt")
PICTURES: Final = ("product_image", "model_image")
_PARTS: Final = (*TEXTS, *PICTURES)


class Verdict(Enum):
    """What a comparison of two rows says."""

    SAME = "same"
    DIFFERENT = "different"
    #: nothing differs, but one side does not know everything
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """A row by all that tells it apart. None is what is not known, "" what is known to be empty."""

    product_name: str | None = None
    model_name: str | None = None
    prompt: str | None = None
    #: which picture: its token, or the text that stands in its place
    product_image: str | None = None
    model_image: str | None = None
    #: in a Bitable
    record_id: str | None = None
    #: the task's own id, once its row was seen to carry it in the column 任务号; before, a number there proves nothing:
    #: rows may have moved when it was written, or it is another table's
    task_id: str | None = None
    #: what a newer program has written
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def named(self) -> bool:
        """Whether it names a product or a model: without, there is nothing to find it by."""
        return bool(self.product_name or self.model_name or self.record_id)


def compare(one: RowIdentity, other: RowIdentity) -> Verdict:
    """Whether two rows, read at any times in any ways, are one and the same.

    Pictures do not count: a person may have replaced one. They separate rows that are else the same, see `nearest`.
    """
    if one.record_id is not None and other.record_id is not None:
        return Verdict.SAME if one.record_id == other.record_id else Verdict.DIFFERENT
    parts = [(getattr(one, name), getattr(other, name)) for name in TEXTS]
    known = [(mine, theirs) for mine, theirs in parts if mine is not None and theirs is not None]
    if not all(agree(mine, theirs) for mine, theirs in known):
        return Verdict.DIFFERENT
    if not any(mine for mine, _ in known) or any((mine is None) != (theirs is None) for mine, theirs in parts):
        return Verdict.CANNOT_TELL
    return Verdict.SAME


def pictures_differ(one: RowIdentity, other: RowIdentity) -> bool:
    """Whether a picture that both know is another one."""
    return any(_differ(getattr(one, name), getattr(other, name)) for name in PICTURES)


def shows_its_pictures(one: RowIdentity, other: RowIdentity) -> bool:
    """Whether pictures that both know are the same, at least one."""
    known = [(getattr(one, name), getattr(other, name)) for name in PICTURES if getattr(one, name)]
    return bool(known) and all(mine == theirs for mine, theirs in known)


def made_of_same(one: RowIdentity, other: RowIdentity) -> bool:
    """Whether all that went into the render is known of both, and the same: 提示词, and two pictures that are there."""
    mine, theirs = one.prompt, other.prompt
    same_prompt = mine is not None and theirs is not None and agree(mine, theirs)
    return same_prompt and all(getattr(one, name) and getattr(one, name) == getattr(other, name) for name in PICTURES)


class RowIndex:
    """The rows of one reading, by number: to look for one costs the same however many there are."""

    def __init__(self, rows: Mapping[int, RowIdentity], numbers: Mapping[int, Sequence[str]]) -> None:
        """`numbers`: the tasks that rows carry in the column 任务号."""
        self.rows, self.numbers = rows, numbers
        self._of_task: dict[str, list[int]] = {}
        for number, task_ids in numbers.items():
            for task_id in dict.fromkeys(task_ids):
                self._of_task.setdefault(task_id, []).append(number)
        self._known = [name for name in TEXTS if all(getattr(row, name) is not None for row in rows.values())]
        self._by_text: dict[tuple[str, ...], defaultdict[tuple[str, ...], list[int]]] = {}
        self._by_value: dict[str, defaultdict[str, list[int]]] = {}
        self._agreeing: dict[tuple[str, str], frozenset[int]] = {}

    def rows_of_task(self, task_id: str) -> Sequence[int]:
        """The numbers of the rows that carry a task's number: of one, unless a person has copied it."""
        return self._of_task.get(task_id, ())

    def may_be(self, wanted: RowIdentity) -> list[int]:
        """The numbers of the rows that `wanted` may be: all that are not different."""
        parts = tuple(name for name in self._known if getattr(wanted, name) is not None)
        if parts not in self._by_text:
            by_text = self._by_text[parts] = defaultdict(list)
            for number, row in self.rows.items():
                by_text[_values(row, parts)].append(number)
        found: Collection[int] = self._by_text[parts].get(_values(wanted, parts), ())
        # What was read as a rounded percentage has another value than its cell.
        if not found and any((getattr(wanted, name) or "").endswith("%") for name in parts):
            found = self.rows.keys()
        return [number for number in found if compare(wanted, self.rows[number]) is not Verdict.DIFFERENT]

    def agreeing(self, part: str, text: str) -> frozenset[int]:
        """The numbers of the rows that say `text`, which is not empty, in that part."""
        key = part, text
        if key not in self._agreeing:
            values = self._values_of(part)
            near = {*values.get(value_text(text), ()), *values.get("%", ())}
            found = self.rows.keys() if text.endswith("%") else near
            self._agreeing[key] = frozenset(n for n in found if agree(text, getattr(self.rows[n], part) or ""))
        return self._agreeing[key]

    def in_common(self, wanted: RowIdentity) -> dict[int, frozenset[str]]:
        """The parts in which each row agrees with `wanted`, by its number; without the rows that agree in none."""
        same = {name: self.agreeing(name, text) for name in _PARTS if (text := getattr(wanted, name))}
        some = sorted(frozenset[int]().union(*same.values()))
        return {number: frozenset(name for name, numbers in same.items() if number in numbers) for number in some}

    def _values_of(self, part: str) -> defaultdict[str, list[int]]:
        """The rows by what they say in one part; under "%" those that show a percentage, which may be a rounded one."""
        if part not in self._by_value:
            values = self._by_value[part] = defaultdict(list)
            for number, row in self.rows.items():
                if text := getattr(row, part):
                    values[value_text(text)].append(number)
                    if text.endswith("%"):
                        values["%"].append(number)
        return self._by_value[part]


def _values(row: RowIdentity, parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value_text(getattr(row, name)) for name in parts)


#: What a person who puts another product, or another model, into a row changes both of.
_OF_ONE: Final = (("product_name", "product_image"), ("model_name", "model_image"))


def in_common(one: RowIdentity, other: RowIdentity) -> frozenset[str]:
    """The parts in which two rows agree, of those that say something."""
    return frozenset(
        name
        for name in _PARTS
        if (mine := getattr(one, name)) and (theirs := getattr(other, name)) and agree(mine, theirs)
    )


def resembles(one: RowIdentity, other: RowIdentity, common: Collection[str] | None = None) -> bool:
    """Whether a row may be the same one, changed by a person: most texts are what they were, and neither product nor
    model are others by both name and picture. `common`: what they have `in_common`, where that is known."""
    common = in_common(one, other) if common is None else common
    same = [name in common for name in TEXTS if getattr(one, name) and getattr(other, name)]
    return (
        any(same)
        and same.count(True) >= same.count(False)
        and not any(_is_another(one, other, common, it) for it in _OF_ONE)
    )


def _is_another(one: RowIdentity, other: RowIdentity, common: Collection[str], parts: tuple[str, str]) -> bool:
    name, picture = parts
    renamed = getattr(one, name) and getattr(other, name) and name not in common
    return bool(renamed) and _differ(getattr(one, picture), getattr(other, picture))


def same_labels(one: RowIdentity, other: RowIdentity) -> bool:
    """Whether product and model bear the names that they had."""
    return all(agree(getattr(one, name) or "", getattr(other, name) or "") for name in ("product_name", "model_name"))


def nearest(wanted: RowIdentity, rows: Mapping[int, RowIdentity]) -> list[int]:
    """Of several rows that `wanted` may be, by number, those that are nearest to it: in the very letters of their
    texts, then in their pictures. What separates none of them separates nothing."""
    left = list(rows)
    for part in (*TEXTS, *PICTURES):
        mine = getattr(wanted, part)
        exactly = [number for number in left if mine is not None and _letters(rows[number], part) == without_mark(mine)]
        left = exactly or left
    return left


def _letters(row: RowIdentity, part: str) -> str:
    return without_mark(getattr(row, part) or "")


def interchangeable(rows: Collection[RowIdentity]) -> bool:
    """Whether rows agree in everything that went into the render, so that each may have the result of any."""
    first = next(iter(rows))
    return all(_alike(getattr(first, part), getattr(row, part)) for row in rows for part in (*TEXTS, *PICTURES))


def identity_of(row: RowData) -> RowIdentity:
    """The identity of a row as `main.py` hands it on.

    An empty 提示词 is known to be empty only where the whole row was read: else nobody may have asked for it.
    """
    read = bool(row.original_data)
    return RowIdentity(
        product_name=key_text(row.product_name),
        model_name=key_text(row.model_name),
        prompt=key_text(row.prompt) if row.prompt or read else None,
        product_image=picture_key(row.product_image) if row.product_image or read else None,
        model_image=picture_key(row.model_image) if row.model_image or read else None,
    )


def identity_in(product_name: str, model_name: str, row_data: Mapping[str, Any]) -> RowIdentity:
    """The identity in what came along with a prompt, or stands in an older record: what is not named is not known."""
    prompt = row_data.get("prompt")
    record_id = row_data.get("record_id")
    return RowIdentity(
        product_name=key_text(product_name),
        model_name=key_text(model_name),
        prompt=key_text(prompt) if prompt else None,
        product_image=picture_key(row_data.get("product_image")) or None,
        model_image=picture_key(row_data.get("model_image")) or None,
        record_id=record_id if isinstance(record_id, str) and record_id else None,
    )


def identity_said(row: Mapping[str, Any]) -> RowIdentity:
    """The identity as another program has sent it along: what it knows to be empty is so."""
    known = [name for name in (*TEXTS, *PICTURES) if isinstance(row.get(name), str)]
    parts: dict[str, Any] = {name: key_text(row[name]) for name in known}
    return RowIdentity(**parts)


def key_text(cell: Any) -> str | None:
    """A cell's text as rows are compared by it; None for a cell that is not understood. The same again for what is that
    already: another program sends it along."""
    text = read_cell(cell)
    if text is None:
        return None
    text = same_text(text)
    if len(text) > LONGEST and not _SHORTENED.fullmatch(text):
        text = f"{text[:LONGEST]}…{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return sys.intern(text)


def picture_key(cell: Any) -> str | None:
    """Which picture a cell shows: its token; a path or link where it holds a text; None where that cannot be told."""
    tokens = pictures_in(cell)
    if not tokens:
        return key_text(cell)
    return None if UNNAMED_PICTURE in tokens else sys.intern(",".join(tokens))


def short(texts: Iterable[str | None]) -> str:
    """Texts for a sentence, the empty ones left out, long ones cut."""
    return " · ".join(_quoted(text) for text in texts if text)


def _quoted(text: str) -> str:
    if text.startswith(UNCLEAR):
        return "?"
    text = without_mark(text)
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _differ(mine: str | None, theirs: str | None) -> bool:
    return mine is not None and theirs is not None and mine != theirs


def _alike(mine: str | None, theirs: str | None) -> bool:
    """The same in two rows of one reading; a column that is not there is like itself."""
    return mine == theirs
