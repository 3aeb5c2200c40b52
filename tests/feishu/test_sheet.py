"""A read sheet: its columns by title, its cells as people read them, and the right row or no row."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.finding import Claim, RowFinder, RowNotFoundError
from wfrecovery.bridge.feishu.sheet import Merge, SheetLayoutError, SheetTable, column_letters, read_table
from wfrecovery.bridge.settings import Columns, load_settings
from wfrecovery.bridge.table.cells import cell_text, is_picture
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

COLUMNS = Columns()
TITLES = {name: title for name, title in dataclasses.asdict(COLUMNS).items() if title and name != "task_id"}
HEADER = list(TITLES.values())
PICTURE = {"fileToken": "UeZN", "height": 4, "width": 4, "text": "", "type": "embed-image", "link": "https://x"}


DECIDE = " → put that right in the sheet and push again, or decide: wfrecovery decide img_20261123_001 write (or leave)"


def row(product: Any, model: Any, prompt: Any = None) -> list[Any]:
    return [None, product, None, model, prompt, "否", None, "否"]


def table(*rows: list[Any], header: list[Any] | None = None, columns: Columns = COLUMNS) -> SheetTable:
    return read_table("sid", [header or HEADER, *rows], columns)


def task(number: int | None, product: str, model: str, prompt: str | None = None) -> TaskRecord:
    data = {} if prompt is None else {"prompt": prompt}
    return TaskRecord("img_20261123_001", row_number=number, product_name=product, model_name=model, row_data=data)


def row_of(sheet: SheetTable, wanted: TaskRecord, *others: TaskRecord) -> int:
    return RowFinder(sheet, [Claim.of(record) for record in (wanted, *others)]).row_of(wanted)


# ------------------------------------------------------------------ addresses and cells


@pytest.mark.parametrize(
    ("index", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")]
)
def test_columns_have_letters(index: int, letters: str) -> None:
    assert column_letters(index) == letters


@given(st.integers(0, 20_000))
def test_letters_count_as_in_a_spreadsheet(index: int) -> None:
    number = 0
    for letter in column_letters(index):
        number = number * 26 + ord(letter) - 64
    assert number == index + 1


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        ("杯子", "杯子"),
        (5, "5"),
        (5.0, "5"),
        (5.5, "5.5"),
        (1e300, str(int(1e300))),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (True, "True"),
        ([{"type": "text", "text": "红"}, {"type": "text", "text": "杯", "segmentStyle": {}}], "红杯"),
        ({"type": "url", "text": "链接", "link": "https://x"}, "链接"),
        ([{"type": "mention", "text": "@小林"}, " 好"], "@小林 好"),
        ({"type": "multipleValue"}, ""),
        (PICTURE, ""),
        ([], ""),
    ],
)
def test_a_cell_reads_as_a_person_reads_it(cell: Any, text: str) -> None:
    assert cell_text(cell) == text


def test_only_an_embedded_picture_is_a_picture() -> None:
    assert is_picture(PICTURE)
    assert is_picture([{"type": "text", "text": "new"}, PICTURE])
    for cell in (None, "embed-image", {"type": "url"}, [{"type": "text", "text": "embed-image"}]):
        assert not is_picture(cell)


# ------------------------------------------------------------------ the header


def test_titles_are_found_in_any_order() -> None:
    sheet = table(header=HEADER[::-1])
    assert [sheet.place(name) for name in TITLES] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_an_exact_title_goes_before_one_that_contains_it() -> None:
    sheet = table(header=["产品名（旧）", "产品名", "模特名称"])
    assert (sheet.place("product_name"), sheet.place("model_name")) == (1, 2)


@pytest.mark.parametrize(
    "title",
    ["提示词（中文）", "提示词(EN)", "【必填】提示词", "3. 提示词", "提示\n词", " 提示词 *", "提示词：", "[A]提示词 1"],
)
def test_a_title_may_have_something_beside_it(title: str) -> None:
    sheet = table(header=[title, "产品名字", "模特名称", "产品图片", "图片是否\n已处理"])
    found = [sheet.place(name) for name in ("prompt", "product_name", "model_name", "product_image", "image_status")]
    assert found == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        ("提示词", "负面提示词"),
        ("提示词", "提示词备注"),
        ("产品模特合成图", "产品模特合成图备注"),
        ("产品模特合成图", "旧产品模特合成图"),
        ("图片是否已处理", "上次图片是否已处理"),
        ("产品图", "产品图备注"),
        ("模特名", "原模特名"),
    ],
)
def test_a_longer_title_is_another_column(wanted: str, other: str) -> None:
    """Ours was renamed: nothing is paid for with what stands in the other one, nor written there."""
    header = [title for title in HEADER if title != wanted] + ["改名了", other]
    with FeishuStandIn([{other: "低质量"}], header=header) as feishu:
        client = FeishuClient(load_settings(environ=feishu.environment()))
        with pytest.raises(SheetLayoutError, match=f"no column '{wanted}'.*{other}"):
            client.read_rows()
        field = next(name for name, title in dataclasses.asdict(COLUMNS).items() if title == wanted)
        with pytest.raises(SheetLayoutError, match=f"no column '{wanted}'"):
            client.read_sheet().place(field)


def test_a_title_of_another_field_is_not_taken_for_one_with_something_beside_it() -> None:
    """A team's titles that differ in a number: one of them was renamed."""
    columns = dataclasses.replace(COLUMNS, product_image="图1", model_image="图2", prompt="提示词2")
    sheet = table(header=["产品名", "模特名", "图1", "别的", "提示词1", "提示词22", "12. 图11"], columns=columns)
    assert {"model_image", "prompt"}.isdisjoint(sheet.places)
    assert sheet.place("product_image") == 2
    there = table(header=["产品名", "模特名", "图1", "图2（正面）", "* 提示词2："], columns=columns)
    assert [there.place(name) for name in ("product_image", "model_image", "prompt")] == [2, 3, 4]


def test_a_team_s_own_column_of_numbers_is_not_ours() -> None:
    sheet = table(header=[*HEADER, "采购任务号"])
    assert "task_id" not in sheet.places
    assert sheet.check_columns() == []


def test_two_titles_that_contain_the_wanted_one_are_not_guessed_between() -> None:
    sheet = table(header=["产品名（旧）", "产品名（新）", "模特名"])
    titles = r"\(A 产品名（旧）, B 产品名（新）\)"
    with pytest.raises(SheetLayoutError, match=f"may be '产品名' {titles}: rename all but one"):
        sheet.place("product_name")


def test_a_title_of_ours_is_not_taken_for_another_column_s_that_it_contains() -> None:
    sheet = table(columns=dataclasses.replace(COLUMNS, video_link="视频"))
    with pytest.raises(SheetLayoutError, match="no column '视频'"):
        sheet.place("video_link")
    assert sheet.place("video_status") == HEADER.index("视频是否已实现")


def test_a_missing_column_names_what_is_there() -> None:
    sheet = table(header=["产品名", "模特名", None, "备注"])
    with pytest.raises(SheetLayoutError, match="no column '产品模特合成图'; its titles are: 产品名, 模特名, 备注"):
        sheet.address(2, "composite_image")


def test_the_header_may_stand_in_the_third_row_below_notes() -> None:
    notes = "填写说明：产品图、产品名、模特图、模特名、提示词、图片是否已处理、产品模特合成图、视频是否已实现 都要填"
    sheet = read_table("sid", [[notes], [], HEADER, row("杯子", "小林")], COLUMNS)
    assert list(sheet.row_numbers()) == [4]
    assert row_of(sheet, task(4, "杯子", "小林")) == 4
    assert sheet.address(4, "image_status") == "sid!F4:F4"


@pytest.mark.parametrize("values", [[], [[]], [[None], ["a", 5], ["b"]], [["x"]] * 5 + [HEADER]])
def test_a_sheet_without_our_titles_says_what_it_holds(values: list[list[Any]]) -> None:
    with pytest.raises(SheetLayoutError, match="产品名") as caught:
        read_table("sid", values, COLUMNS)
    assert "nothing" in str(caught.value) or "a, 5, b" in str(caught.value) or "x" in str(caught.value)


def test_titles_as_rich_text_and_with_blanks_are_read() -> None:
    sheet = table(header=[[{"type": "text", "text": "产品"}, {"type": "text", "text": "名"}], " 模特名 "])
    assert (sheet.place("product_name"), sheet.place("model_name")) == (0, 1)


def test_columns_after_z_are_addressed() -> None:
    sheet = table([None] * 30 + row("杯子", "小林"), header=[f"列{n}" for n in range(30)] + HEADER)
    assert sheet.address(2, "composite_image") == "sid!AK2:AK2"
    assert sheet.text(2, "product_name") == "杯子"


def test_renamed_columns_are_used() -> None:
    columns = Columns(product_name="SKU", model_name="Model")
    sheet = table(["7", "x"], header=["SKU", "Model"], columns=columns)
    assert row_of(sheet, task(2, "7", "x")) == 2


def test_short_and_missing_rows_are_empty_cells() -> None:
    sheet = read_table("sid", [HEADER, ["a"], None, []], COLUMNS)  # type: ignore[list-item]
    assert sheet.cell(2, "video_status") is None
    for number in (0, -1, 3, 4, 99):
        assert sheet.text(number, "product_name") == ""


# ------------------------------------------------------------------ rows


def test_rows_are_those_that_name_a_product_or_a_model() -> None:
    sheet = table(row("杯子", None, "红"), [None] * 8, row(None, "小林"), [None, "  "])
    assert [(item.row_number, item.product_name, item.model_name) for item in sheet.rows()] == [
        (2, "杯子", ""),
        (4, "", "小林"),
    ]
    assert sheet.rows()[0].prompt == "红"
    assert sheet.rows()[0].status == "否"
    assert sheet.rows()[0].original_data["产品名"] == "杯子"


def test_rows_of_a_sheet_with_few_columns_leave_the_rest_blank() -> None:
    (only,) = table(["杯子"], header=["产品名"]).rows()
    assert (only.product_name, only.model_name, only.composite_image) == ("杯子", "", None)


def test_the_recorded_row_is_kept_where_it_still_matches() -> None:
    assert row_of(table(row("a", "x"), row("b", "y")), task(3, "b", "y")) == 3


@pytest.mark.parametrize("cell", ["7", 7, 7.0, [{"type": "text", "text": "7"}], " 7 "])
def test_a_number_and_rich_text_match_their_text(cell: Any) -> None:
    assert row_of(table(row("a", "x"), row(cell, "y")), task(2, " 7", "y ")) == 3


def test_a_row_that_moved_is_found() -> None:
    rows = [row("a", "x"), row("b", "y"), row("c", "z")]
    assert row_of(table(row("new", "n"), *rows), task(3, "b", "y")) == 4, "inserted above"
    assert row_of(table(*rows[1:]), task(3, "b", "y")) == 2, "deleted above"
    assert row_of(table(*rows[::-1]), task(4, "c", "z")) == 2, "sorted"


def test_product_alone_or_model_alone_is_no_match() -> None:
    sheet = table(row("a", "x"), row("b", "y"))
    for wanted in (task(2, "a", "y"), task(3, "a", "y"), task(2, "a", ""), task(2, "", "x")):
        with pytest.raises(RowNotFoundError):
            row_of(sheet, wanted)


def test_a_row_that_is_gone_names_what_was_looked_for_and_what_stands_there() -> None:
    with pytest.raises(RowNotFoundError) as caught:
        row_of(table(row("a", "x"), row("b", "y")), task(3, "c", "z"))
    assert str(caught.value) == "产品名 'c' · 模特名 'z' stands in no row; row 3 now has 'b' · 'y'" + DECIDE
    with pytest.raises(RowNotFoundError, match="the sheet has no row 9"):
        row_of(table(row("a", "x")), task(9, "c", "z"))


def test_several_matching_rows_are_all_named_and_none_is_taken() -> None:
    sheet = table(row("new", "n"), row("a", "x", "red"), row("a", "x", "blue"))
    for number in (2, 3, 4):
        with pytest.raises(RowNotFoundError) as caught:
            row_of(sheet, task(number, "a", "x"))
        assert caught.value.rows == (3, 4)
        said = "产品名 'a' · 模特名 'x' stands in several rows (3, 4), and nothing tells which is the task's"
        assert str(caught.value) == said + DECIDE


def test_the_prompt_tells_two_rows_of_one_product_and_model_apart() -> None:
    sheet = table(row("new", "n"), row("a", "x", "红"), row("a", "x", "蓝"))
    assert row_of(sheet, task(2, "a", "x", "蓝")) == 4
    assert row_of(sheet, task(3, "a", "x", "蓝")) == 4, "row 3 now is the red one"


def test_a_task_that_names_nothing_has_no_row() -> None:
    with pytest.raises(RowNotFoundError, match="names no product and no model"):
        row_of(table(row(None, None), row("a", "x")), task(2, " ", ""))


def test_the_header_itself_is_never_a_row() -> None:
    with pytest.raises(RowNotFoundError):
        row_of(table(row("a", "x")), task(1, "产品名", "模特名"))


def test_a_task_without_a_row_number_is_found_by_its_names() -> None:
    assert row_of(table(row("a", "x"), row("b", "y")), task(None, "b", "y")) == 3


def test_a_sheet_without_a_key_column_has_no_rows_for_tasks() -> None:
    with pytest.raises(SheetLayoutError, match="模特名"):
        row_of(table(["a"], header=["产品名", "提示词"]), task(2, "a", "x"))


NAMES = st.tuples(st.text("ab 产品1", max_size=3), st.text("xy1 ", max_size=2))


@given(
    before=st.lists(NAMES, min_size=1, max_size=8, unique_by=lambda names: (names[0].strip(), names[1].strip())),
    data=st.data(),
)
def test_after_any_change_of_rows_a_task_finds_its_own_row_or_none(
    before: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Rows are moved, deleted and inserted; also ones that share a name with others."""
    kept = data.draw(st.permutations(before).map(list))
    del kept[data.draw(st.integers(0, len(kept))) :]
    known = {(product.strip(), model.strip()) for product, model in kept}
    for names in data.draw(st.lists(NAMES, max_size=4)):
        key = (names[0].strip(), names[1].strip())
        if key not in known:
            known.add(key)
            kept.insert(data.draw(st.integers(0, len(kept))), names)
    above = data.draw(st.integers(0, 3))
    sheet = read_table("sid", [[] for _ in range(above)] + [HEADER] + [row(*names) for names in kept], COLUMNS)
    places = {(p.strip(), m.strip()): number for number, (p, m) in enumerate(kept, above + 2)}
    for number, (product, model) in enumerate(before, 2):
        wanted = (product.strip(), model.strip())
        if wanted in places and wanted != ("", ""):
            assert row_of(sheet, task(number, product, model)) == places[wanted]
        else:
            with pytest.raises(RowNotFoundError):
                row_of(sheet, task(number, product, model))


@given(rows=st.lists(NAMES, max_size=8), wanted=NAMES, number=st.none() | st.integers(1, 12))
def test_with_doubles_a_row_is_only_returned_if_product_and_model_stand_there(
    rows: list[tuple[str, str]], wanted: tuple[str, str], number: int | None
) -> None:
    sheet = table(*(row(*names) for names in rows))
    try:
        found = row_of(sheet, task(number, *wanted))
    except RowNotFoundError:
        return
    assert [part.strip() for part in rows[found - 2]] == [part.strip() for part in wanted]


def test_a_header_over_two_merged_rows_is_read_as_people_read_it() -> None:
    """The names stand over two rows, each pair of columns under a word of its own."""
    upper = ["产品图", "产品名", "模特图", "模特名", "提示词", "图片", None, "视频"]
    lower = [None, None, None, None, None, "图片是否已处理", "产品模特合成图", "视频是否已实现"]
    merges = [*(Merge(0, 1, column, column) for column in range(5)), Merge(0, 0, 5, 6)]
    sheet = read_table("sid", [upper, lower, row("a", "x"), row("b", "y")], COLUMNS, merges)
    assert [found.row_number for found in sheet.rows()] == [3, 4]
    assert sheet.rows()[1].original_data["产品名"] == "b"
    assert sheet.rows()[1].status == "否"
    assert row_of(sheet, task(3, "b", "y")) == 4
    assert sheet.address(4, "composite_image") == "sid!G4:G4"


def test_cells_that_are_written_change_nothing_of_what_tells_rows_apart() -> None:
    sheet = table(row("a", "x"), row("b", "y"))
    before = sheet.index
    assert sheet.with_values({(2, "image_status"): "已完成"}).index is before
    renamed = sheet.with_values({(2, "product_name"): "c"})
    assert row_of(renamed, task(2, "c", "x")) == 2
    with pytest.raises(RowNotFoundError):
        row_of(renamed, task(2, "a", "x"))


@pytest.mark.parametrize(
    "titles",
    [("提示词", "提示词"), ("图片提示词", "视频提示词")],
    ids=["twice", "contained in two"],
)
def test_rows_are_not_read_where_two_columns_may_be_the_prompt(titles: tuple[str, str]) -> None:
    """They would be paid for without one."""
    header = ["产品名", "模特名", *titles, "图片是否已处理"]
    with FeishuStandIn([{"产品名": "裙子", "模特名": "模特", "图片是否已处理": "否"}], header=header) as feishu:
        client = FeishuClient(load_settings(environ=feishu.environment()))
        with pytest.raises(SheetLayoutError, match=f"'提示词'.*{titles[0]}, .*{titles[1]}"):
            client.read_rows()


@pytest.mark.parametrize("gone", ["产品名", "模特名", "提示词"])
def test_no_row_is_read_where_a_column_is_gone_that_tells_rows_apart(gone: str) -> None:
    """Somebody has renamed it: rows would be paid for without what it says, or could not be delivered."""
    header = ["产品名", "模特名", "提示词", "图片是否已处理", "产品模特合成图"]
    names = ["改了的名字" if title == gone else title for title in header]
    with FeishuStandIn([{"图片是否已处理": "否"}], header=names) as feishu:
        feishu.sheet.set("A2", "裙子")
        feishu.sheet.set("B2", "模特")
        with pytest.raises(SheetLayoutError, match=f"no column '{gone}'.*an empty one if there is none"):
            FeishuClient(load_settings(environ=feishu.environment())).read_rows()


def test_rows_are_read_without_a_column_that_the_settings_say_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[columns]\nprompt = ""\nmodel_name = ""\n', "utf-8")
    header = ["产品名", "图片是否已处理", "产品模特合成图"]
    with FeishuStandIn([{"产品名": "裙子", "图片是否已处理": "否"}], header=header) as feishu:
        settings = load_settings(environ={**feishu.environment(), "WFRECOVERY_CONFIG": str(tmp_path / "config.toml")})
        client = FeishuClient(settings)
        (row,) = client.read_rows()
        assert (row.product_name, row.model_name, row.prompt) == ("裙子", "", "")
        assert row_of(client.read_sheet(), task(5, "裙子", "")) == 2


def test_a_column_that_is_not_there_is_told_when_rows_are_read(caplog: pytest.LogCaptureFixture) -> None:
    header = ["产品名", "模特名", "提示词", "图片是否已处理"]
    with FeishuStandIn([{"产品名": "裙子", "图片是否已处理": "否"}], header=header) as feishu:
        assert len(FeishuClient(load_settings(environ=feishu.environment())).read_rows()) == 1
    assert "no column 产品图, 模特图, 产品模特合成图" in caplog.text


def test_rows_are_read_where_two_columns_may_be_one_that_decides_nothing() -> None:
    """A team that renders from several pictures of its own reads them by their titles."""
    header = ["产品名", "模特名", "提示词", "产品图1", "产品图2", "图片是否已处理", "任务号（旧）", "任务号（新）"]
    with FeishuStandIn([{"产品名": "裙子", "产品图1": "a.png", "图片是否已处理": "否"}], header=header) as feishu:
        (row,) = FeishuClient(load_settings(environ=feishu.environment())).read_rows()
    assert (row.product_name, row.original_data["产品图1"]) == ("裙子", "a.png")
