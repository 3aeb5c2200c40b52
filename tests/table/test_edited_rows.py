"""A row that a person edits while its task is at work keeps that task, wherever it stands; a row that has come into the
place of a deleted one does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from wfrecovery.bridge.table.cells import literal
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.row_identity import RowIdentity, RowIndex, in_common
from wfrecovery.bridge.table.rows import RowData

IMAGE = "图片合成"


def token(name: str) -> dict[str, str]:
    return {"type": "embed-image", "fileToken": name}


def one_model(n: int) -> RowData:
    """As in most shops: one model, one 提示词 for all products."""
    return RowData(n + 1, token(f"p{n}"), token("m"), "棚拍", "否", product_name=f"产品{n}", model_name="小林")


def one_product(n: int) -> RowData:
    return RowData(n + 1, token("p"), token(f"m{n}"), "棚拍", "否", product_name="裙子", model_name=f"模特{n}")


def without_pictures(n: int) -> RowData:
    return RowData(n + 1, prompt="棚拍", status="否", product_name=f"产品{n}", model_name="小林")


def all_different(n: int) -> RowData:
    return RowData(
        n + 1, token(f"p{n}"), token(f"m{n}"), f"提示{n}", "否", product_name=f"产品{n}", model_name=f"模特{n}"
    )


def numbered(rows: list[RowData]) -> list[RowData]:
    """As they are read: from row 2 on, each with all its cells."""
    return [dataclasses.replace(row, row_number=at, original_data={"产品名": "…"}) for at, row in enumerate(rows, 2)]


def at_work(folder: Path, rows: list[RowData], number: int) -> str:
    db = DatabaseManager(folder)
    task_id = db.add_workflow_task(next(row for row in rows if row.row_number == number), IMAGE)
    db.table.update(task_id, lambda task: task.entering(Stage.QUEUED, comfyui_task_id="p"))
    return task_id


def to_do(folder: Path, rows: list[RowData]) -> list[str]:
    """By a program that starts anew; each row that it takes gets a task of its own."""
    db = DatabaseManager(folder)
    left = db.rows_without_task(rows, IMAGE)
    known = {entry.task_id for entry in db.index.entries()}
    entered = [db.add_workflow_task(row, IMAGE) for row in left]
    assert len({*entered, *known}) == len(entered) + len(known)
    return [f"{row.product_name} {row.model_name}" for row in left]


@pytest.mark.parametrize("shop", [one_model, one_product, all_different])
@pytest.mark.parametrize("gone", [1, 2, 3])
def test_the_row_below_a_deleted_one_is_rendered(shop: Callable[[int], RowData], gone: int, tmp_path: Path) -> None:
    rows = numbered([shop(n) for n in range(1, 6)])
    at_work(tmp_path, rows, gone + 1)
    left = numbered([shop(n) for n in range(1, 6) if n != gone])
    assert to_do(tmp_path, left) == [f"{row.product_name} {row.model_name}" for row in left]


@pytest.mark.parametrize("shop", [one_model, one_product, all_different])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(
    "edit",
    [
        {"prompt": "棚拍，加一盏灯"},
        {"product_name": "连衣裙（新）"},
        {"product_image": token("new")},
        {"model_name": "小林林"},
    ],
    ids=["prompt", "product", "picture", "model"],
)
def test_an_edited_row_is_not_rendered_again_before_that_is_decided(
    shop: Callable[[int], RowData], edit: dict[str, object], moved: bool, tmp_path: Path
) -> None:
    rows = numbered([shop(n) for n in range(1, 5)])
    at_work(tmp_path, rows, 3)
    edited = [dataclasses.replace(row, **edit) if row.row_number == 3 else row for row in rows]  # type: ignore[arg-type]
    new = [dataclasses.replace(shop(9), product_name="新品", model_name="新人", prompt="新")] if moved else []
    left = to_do(tmp_path, numbered([*new, *edited]))
    assert f"{edited[1].product_name} {edited[1].model_name}" not in left
    assert len(left) == len(rows) - 1 + len(new)


def test_what_was_found_to_be_free_gets_a_task_of_its_own(tmp_path: Path) -> None:
    """The edited row has moved; the one that has its number now says most of what it said."""
    rows = [without_pictures(n) for n in range(1, 5)]
    at_work(tmp_path, numbered(rows), 3)
    rows[1] = dataclasses.replace(rows[1], prompt="棚拍，加一盏灯")
    moved = numbered([dataclasses.replace(without_pictures(9), model_name="新人", prompt="新"), *rows])
    assert to_do(tmp_path, moved) == ["产品9 新人", "产品1 小林", "产品3 小林", "产品4 小林"]


@pytest.mark.parametrize("deleted", [False, True])
def test_where_no_picture_tells_a_deleted_row_from_a_renamed_one_nothing_is_paid_for_twice(
    deleted: bool, tmp_path: Path
) -> None:
    """The next row has its number, or the row has another name: a person says which."""
    rows = [without_pictures(n) for n in range(1, 5)]
    at_work(tmp_path, numbered(rows), 3)
    edited = dataclasses.replace(rows[1], product_name="改了的名字")
    left = numbered([rows[0], *rows[2:]] if deleted else [rows[0], edited, *rows[2:]])
    assert to_do(tmp_path, left) == [f"{row.product_name} 小林" for row in left if row.row_number != 3]


#: Ways to read a few cells: many agree.
_TEXTS = [
    None,
    "",
    "裙子",
    "0.15",
    literal("0.15", "0.15"),
    "15%",
    "0.153",
    "7",
    "007",
    "1,5",
    "1 , 5",
    "TRUE",
    "true",
    "%",
]


@pytest.mark.parametrize("part", ["product_name", "model_name", "prompt", "product_image", "model_image"])
def test_what_rows_have_in_common_is_found_as_by_comparing_each(part: str) -> None:
    rows = {number: RowIdentity(**{part: text}) for number, text in enumerate(_TEXTS, 2)}
    for wanted in rows.values():
        each = {number: in_common(wanted, row) for number, row in rows.items()}
        assert RowIndex(rows, {}).in_common(wanted) == {number: parts for number, parts in each.items() if parts}
