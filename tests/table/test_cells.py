"""What a cell says under any way of reading it, and which texts are two readings of one cell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfrecovery.bridge.table.cells import agree, cell_text, pictures_in, read_cell, same_text
from wfrecovery.bridge.table.row_identity import Verdict, compare, identity_of, identity_said
from wfrecovery.bridge.table.rows import RowData
from wfrecovery.bridge.table.value_json import value_to_json

PICTURE = {"type": "embed-image", "fileToken": "UeZN", "height": 4, "width": 4, "text": "", "link": "https://x"}


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        ([], ""),
        (PICTURE, ""),
        ({"type": "embed-image", "id": "1"}, ""),
        ([{"type": "text", "text": "新"}, PICTURE], "新"),
        (0.15, "0.15"),
        (1e-7, "0.0000001"),
        (46354.0, "46354"),
        (12345678901234567890, "12345678901234567890"),
        ({"type": "multipleValue", "values": ["红", 7]}, "红,7"),
        (["红", "蓝"], "红,蓝"),
        ([{"text": "模特"}, {"type": "text", "text": "B"}], "模特B"),
        ({"type": "url", "text": "a.mp4", "link": "https://x"}, "a.mp4"),
        ({"type": "mention", "text": "@小林"}, "@小林"),
    ],
)
def test_what_is_understood_reads_as_people_see_it(cell: Any, text: str) -> None:
    assert read_cell(cell) == cell_text(cell) == text


@pytest.mark.parametrize(
    "cell",
    [
        {"type": "formula", "text": "=A1"},
        {"type": "somethingNew", "text": "x"},
        {"type": "somethingNew"},
        {"text": {"inner": "x"}},
        [{"type": "text", "text": "a"}, {"type": "formula", "text": "=A1"}],
        {"type": "multipleValue", "values": "红"},
        {"type": ["text"], "text": "a"},
        {"type": {"name": "text"}, "text": "a"},
        object(),
    ],
)
def test_what_is_not_understood_is_told_from_what_is_empty(cell: Any) -> None:
    assert read_cell(cell) is None
    assert cell_text(cell) == ""


def test_of_every_picture_it_is_told_which_one_it_is_as_far_as_the_answer_says() -> None:
    assert pictures_in(PICTURE) == ("UeZN",)
    assert pictures_in([PICTURE, {"text": "x"}, {**PICTURE, "fileToken": "Vb"}]) == ("UeZN", "Vb")
    assert pictures_in({"type": "embed-image", "id": "1"}) == ("?",)
    assert pictures_in("embed-image") == pictures_in(None) == ()


#: As a person sees it, and as the same cell reads without its format.
ONE_CELL = [
    ("15%", "0.15"),
    ("15 %", "0.15"),
    ("12.5%", "0.125"),
    ("15%", "0.1534"),
    ("1,234.50", "1234.5"),
    ("¥1,299", "1299"),
    ("$ 5.00", "5"),
    ("007", "7"),
    ("1.50", "1.5"),
    ("-3.0", "-3"),
    ("1.5E+05", "150000"),
    ("2026/11/28", "46354"),
    ("2026-11-28", "46354"),
    ("2026年11月28日", "46354"),
    ("2026/11/28 12:00", "46354.5"),
    ("2026-11-28 06:00:00", "46354.25"),
    ("TRUE", "True"),
    ("红, 蓝", "红,蓝"),
]


@pytest.mark.parametrize(("shown", "raw"), ONE_CELL)
def test_a_format_changes_nothing_of_what_a_cell_says(shown: str, raw: str) -> None:
    assert agree(shown, raw)
    assert agree(raw, shown)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.2"),
        ("1.5", "1.53"),
        ("15%", "0.16"),
        ("15%", "15"),
        ("7", "70"),
        ("12", "1,2"),
        ("2026/11/28", "2026/11/29"),
        ("2026/13/28", "2026/1/28"),
        ("a", "b"),
        ("A1", "a1"),
        ("1234567890123456789012345678901", "1234567890123456789012345678902"),
        ("", "0"),
        ("True", "False"),
    ],
)
def test_other_texts_are_other_names(one: str, other: str) -> None:
    assert not agree(one, other)
    assert not agree(other, one)


@given(st.integers(-(10**9), 10**9), st.integers(0, 4))
def test_any_number_agrees_with_itself_with_separators_and_zeros(number: int, zeros: int) -> None:
    shown = f"{number:,}" + ("." + "0" * zeros if zeros else "")
    assert agree(shown, str(number))
    assert not agree(shown, str(number + 1))


@given(st.text(max_size=60).map(same_text), st.text(max_size=60).map(same_text))
def test_any_two_texts_can_be_compared_either_way_round(one: str, other: str) -> None:
    assert agree(one, one)
    assert agree(one, other) == agree(other, one)


@given(st.text(max_size=3), st.sampled_from("好a 　\n7é"), st.integers(0, 1200))
def test_a_row_is_the_same_when_it_is_sent_along_and_taken_up_again(start: str, letter: str, times: int) -> None:
    """main.py sends what it compares rows by, and the plugin reads that: also of a 提示词 too long to be kept whole."""
    sent = identity_of(RowData(row_number=2, product_name=start, model_name="模特", prompt=start + letter * times))
    told = json.loads(json.dumps(value_to_json(sent)))
    taken = identity_said(told)
    assert (taken.product_name, taken.prompt or "") == (sent.product_name, sent.prompt or "")
    assert compare(taken, sent) is not Verdict.DIFFERENT
