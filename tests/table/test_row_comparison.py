"""The one comparison of two rows: the same, another one, or it cannot be told; what is not known is never equal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wfrecovery.bridge.table.row_identity import (
    RowIdentity,
    Verdict,
    compare,
    interchangeable,
    made_of_same,
    pictures_differ,
    shows_its_pictures,
)

SAME, DIFFERENT, CANNOT_TELL = Verdict.SAME, Verdict.DIFFERENT, Verdict.CANNOT_TELL
PARTS = ("product_name", "model_name", "prompt")
WHOLE = {"product_name": "裙子", "model_name": "小雅", "prompt": "棚拍", "product_image": "p1", "model_image": "m1"}


def row(**parts: str | None) -> RowIdentity:
    """A row of which all is known, but for what is said here."""
    return RowIdentity(**{**WHOLE, **parts})


def verdicts(one: RowIdentity, other: RowIdentity) -> set[Verdict]:
    return {compare(one, other), compare(other, one)}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        ("裙子", "裙子", SAME),
        ("裙子", "帽子", DIFFERENT),
        ("裙子", "", DIFFERENT),
        ("", "", SAME),
        (None, "裙子", CANNOT_TELL),
        (None, "", CANNOT_TELL),
        (None, None, SAME),
    ],
)
def test_one_part(part: str, mine: str | None, theirs: str | None, verdict: Verdict) -> None:
    assert verdicts(row(**{part: mine}), row(**{part: theirs})) == {verdict}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("unknown", PARTS)
def test_what_is_not_known_makes_up_for_no_difference(part: str, unknown: str) -> None:
    if part != unknown:
        assert verdicts(row(), row(**{part: "别的", unknown: None})) == {DIFFERENT}


@pytest.mark.parametrize("nothing", ["", None])
def test_rows_that_say_nothing_are_not_the_same(nothing: str | None) -> None:
    assert verdicts(row(**dict.fromkeys(PARTS, nothing)), row(**dict.fromkeys(PARTS, nothing))) == {CANNOT_TELL}


@pytest.mark.parametrize("picture", ["product_image", "model_image"])
@pytest.mark.parametrize("theirs", ["x1", "", None])
def test_a_picture_that_was_replaced_makes_no_other_row_of_it(picture: str, theirs: str | None) -> None:
    other = row(**{picture: theirs})
    assert verdicts(row(), other) == {SAME}
    assert pictures_differ(row(), other) == (theirs is not None)


def test_in_a_bitable_the_record_decides() -> None:
    here = row(record_id="rec1")
    assert verdicts(here, row(record_id="rec2")) == {DIFFERENT}
    assert verdicts(here, row(record_id="rec1", product_name="改名", prompt=None)) == {SAME}
    assert verdicts(here, row()) == {SAME}
    assert verdicts(here, row(prompt="别的")) == {DIFFERENT}


Said = Callable[[RowIdentity, RowIdentity], bool]


@pytest.mark.parametrize("unknown", [None, ""])
@pytest.mark.parametrize(
    ("said", "parts"),
    [
        (made_of_same, ("prompt", "product_image", "model_image")),
        (lambda one, other: interchangeable([one, other]), (*PARTS, "product_image", "model_image")),
        (shows_its_pictures, ("product_image", "model_image")),
    ],
    ids=["made of the same", "interchangeable", "shows its pictures"],
)
def test_what_one_side_does_not_know_is_not_the_same(said: Said, parts: tuple[str, ...], unknown: str | None) -> None:
    assert said(row(), row())
    for part in parts:
        assert not said(row(), row(**{part: unknown})), part
        assert not said(row(), row(**{part: "别的"})), part


@pytest.mark.parametrize("picture", ["product_image", "model_image"])
@pytest.mark.parametrize("nothing", [None, ""])
def test_rows_without_a_picture_are_not_known_to_be_made_of_the_same(picture: str, nothing: str | None) -> None:
    assert not made_of_same(row(**{picture: nothing}), row(**{picture: nothing}))
    nobody = row(product_image=nothing, model_image=nothing)
    assert not shows_its_pictures(nobody, nobody)
