"""Which row a result belongs to: by all that tells rows apart, never by the number; or none, and who may be meant."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfrecovery.bridge.feishu.finding import Claim, RowFinder, RowNotFoundError
from wfrecovery.bridge.feishu.sheet import SheetTable, read_table
from wfrecovery.bridge.settings import Columns
from wfrecovery.bridge.table.index import TaskEntry
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.row_identity import identity_of
from wfrecovery.bridge.table.values import FeishuState, Outbox, Sent

COLUMNS = Columns()
HEADER = [title for title in dataclasses.asdict(COLUMNS).values() if title]
FIELDS = [name for name, title in dataclasses.asdict(COLUMNS).items() if title]


def picture(token: str | None) -> Any:
    return {"type": "embed-image", "fileToken": token} if token else {"type": "embed-image", "id": "x"}


def sheet(*rows: dict[str, Any], without: tuple[str, ...] = ()) -> SheetTable:
    names = [name for name in FIELDS if name not in without]
    header = [getattr(COLUMNS, name) for name in names]
    return read_table("sid", [header, *([row.get(name) for name in names] for row in rows)], COLUMNS)


def row(product: Any = "裙子", model: Any = "模特A", prompt: Any = "红", **more: Any) -> dict[str, Any]:
    cells = {"product_name": product, "model_name": model, "prompt": prompt, "image_status": "否"}
    return {**cells, "product_image": picture("p"), "model_image": picture("m"), **more}


def task(table: SheetTable, number: int, name: str = "img_20261123_001") -> TaskRecord:
    """What main.py enters for a row as it reads it."""
    data = next(found for found in table.rows() if found.row_number == number)
    return TaskRecord(
        name,
        row_number=number,
        product_name=data.product_name,
        model_name=data.model_name,
        workflow_type="图片合成",
        row=identity_of(data),
    )


def places(table: SheetTable, *tasks: TaskRecord) -> list[int | None]:
    finder = RowFinder(table, [Claim.of(record) for record in tasks])

    def place(record: TaskRecord) -> int | None:
        try:
            return finder.row_of(record)
        except RowNotFoundError:
            return None

    return [place(record) for record in tasks]


THREE = [row(prompt=f"颜色{number}") for number in (1, 2, 3)]


def test_rows_that_differ_in_their_prompt_alone_are_told_apart_wherever_they_are() -> None:
    before = sheet(row("旧"), *THREE)
    tasks = [task(before, number, f"img_20261123_00{number}") for number in (3, 4, 5)]
    assert places(before, *tasks) == [3, 4, 5]
    assert places(sheet(*THREE), *tasks) == [2, 3, 4]
    assert places(sheet(*THREE[::-1], row("旧")), *tasks) == [4, 3, 2]
    assert places(sheet(row("旧"), *THREE[1:]), *tasks) == [None, 3, 4], "a deleted row's result goes into no other"


def test_a_task_that_did_not_say_its_prompt_takes_no_row_by_its_number() -> None:
    names = {"product_name": "裙子", "model_name": "模特A", "workflow_type": "图片合成"}
    tag = TaskRecord("img_20261123_001", row_number=3, **names)
    with pytest.raises(RowNotFoundError) as caught:
        RowFinder(sheet(row("旧"), *THREE)).row_of(tag)
    assert caught.value.rows == (3, 4, 5)
    assert "(3, 4, 5)" in str(caught.value)
    assert RowFinder(sheet(row("旧"), THREE[0])).row_of(tag) == 3, "of one row nothing more need be known"


def test_rows_that_are_alike_in_everything_get_one_result_each() -> None:
    before = sheet(row("旧"), row(), row(), row())
    tasks = [task(before, number, f"img_20261123_00{number}") for number in (3, 4, 5)]
    for after in (before, sheet(row(), row(), row()), sheet(row(), row("旧"), row(), row())):
        found = places(after, *tasks)
        assert len(set(found)) == 3
        assert None not in found
    assert places(sheet(row(), row()), *tasks).count(None) == 1, "for a deleted one there is none"


def test_of_rows_that_are_alike_a_done_one_is_not_taken_by_who_has_no_number_there() -> None:
    before = sheet(row("旧"), row("旧"), row(), row())
    late = task(before, 5)
    after = sheet(row(image_status="已完成", composite_image=picture("r")), row())
    assert places(after, late) == [3]


def test_who_has_sent_his_picture_goes_where_it_shows() -> None:
    before = sheet(row("旧"), row(), row())
    sent, other = task(before, 3, "img_20261123_001"), task(before, 4, "img_20261123_002")
    sent = dataclasses.replace(sent, outbox=Outbox(writing=Sent("sid!G3:G3")))
    after = sheet(row("旧"), row("新"), row("新2"), row("新3"), row(), row(composite_image=picture("r")))
    assert places(after, sent, other) == [7, 6]


def test_a_picture_separates_rows_and_rejects_none() -> None:
    before = sheet(row(product_image=picture("a")), row(product_image=picture("b")))
    tasks = [task(before, 2, "img_20261123_001"), task(before, 3, "img_20261123_002")]
    assert places(sheet(row(product_image=picture("b")), row(product_image=picture("a"))), *tasks) == [3, 2]
    assert places(sheet(row(product_image=picture("c"))), tasks[0]) == [2], "a person has replaced the picture"
    assert places(sheet(row(product_image=picture("c")), row(product_image=picture("d"))), tasks[0]) == [None]


@pytest.mark.parametrize("odd", [{"type": "somethingNew"}, {"type": "formula", "text": "=A1"}])
@pytest.mark.parametrize("field", ["product_name", "model_name", "prompt"])
def test_a_row_with_a_cell_that_is_not_understood_is_nobodys(odd: Any, field: str) -> None:
    before = sheet(row(), row("b"))
    wanted = task(before, 2)
    assert places(sheet({**row(), field: odd}, row("b")), wanted) == [None]
    assert places(sheet({**row(), field: odd}, row()), wanted) == [3]


def test_rows_whose_pictures_the_answer_does_not_name_are_not_taken_for_alike() -> None:
    before = sheet(row("旧"), row(product_image=picture(None)), row(product_image=picture(None)))
    assert places(before, task(before, 3), task(before, 4, "img_20261123_002")) == [None, None]


@pytest.mark.parametrize(("shown", "raw"), [("15%", 0.15), ("2026/11/28", 46354), ("007", 7), ("1,234.50", 1234.5)])
def test_a_row_is_the_same_however_whoever_entered_it_has_read_it(shown: str, raw: float) -> None:
    """The publisher reads values; a team's own program, or an older one, may have read what people see."""
    for one in (shown, raw):
        entered = task(sheet(row(one), row("b")), 2)
        older = dataclasses.replace(entered, row=None, row_data={"prompt": "红"})
        assert places(sheet(row("b"), row(raw)), entered) == [3]
        assert places(sheet(row("b"), row(raw)), older) == [3]


@pytest.mark.parametrize(("mine", "theirs"), [("007", "7"), ("7", "007"), ("15%", "0.15"), ("1.50", "1.5")])
def test_a_text_that_looks_like_a_number_is_no_other_one(mine: str, theirs: str) -> None:
    """Both are texts in the sheet: the one is deleted, and the other is another product."""
    assert places(sheet(row(theirs)), task(sheet(row(mine), row(theirs)), 2)) == [None]
    assert places(sheet(row(theirs), row(mine)), task(sheet(row(mine), row(theirs)), 2)) == [3]


def test_of_names_with_one_value_the_very_letters_decide() -> None:
    before = sheet(row("007"), row("7"))
    tasks = [task(before, 2, "img_20261123_001"), task(before, 3, "img_20261123_002")]
    assert places(sheet(row("7"), row("007")), *tasks) == [3, 2]


@pytest.mark.parametrize(("one", "other"), [("红,蓝", "红, 蓝"), ("TRUE", "true")])
def test_of_texts_that_may_be_one_the_very_letters_decide(one: str, other: str) -> None:
    """As a drop-down's choices and a tick are read under one option and another; both stand in the sheet."""
    assert places(sheet(row(prompt=other), row(prompt=one)), task(sheet(row(prompt=one)), 2)) == [3]
    assert places(sheet(row(prompt=other)), task(sheet(row(prompt=one)), 2)) == [2]


def test_rows_that_are_alike_are_shared_among_their_own_tasks_alone() -> None:
    """A third row differs in its picture; where all have moved, its number is one of the others'."""
    three = [row(), row(), row(product_image=picture("q"))]
    before, after = sheet(*three), sheet(row("新"), *three)
    tasks = [task(before, number, f"img_20261123_00{number}") for number in (2, 3, 4)]
    first, second, third = places(after, *tasks)
    assert sorted([first or 0, second or 0]) == [3, 4]
    assert third == 5


def test_of_several_rows_that_show_another_picture_none_gets_the_result() -> None:
    before = sheet(row(product_image=picture("q")), row(), row())
    tasks = [task(before, number, f"img_20261123_00{number}") for number in (2, 3, 4)]
    after = sheet(row(), row())
    lost, first, second = places(after, *tasks)
    assert lost is None
    assert sorted([first or 0, second or 0]) == [2, 3]


# ------------------------------------------------------------------ the column 任务号


def numbered(record: TaskRecord) -> TaskRecord:
    """A task whose row was seen to carry its number."""
    assert record.row is not None
    return dataclasses.replace(record, row=dataclasses.replace(record.row, task_id=record.task_id))


def test_the_task_s_number_in_a_row_makes_it_certain() -> None:
    before = sheet(row(), row())
    wanted = numbered(task(before, 2))
    assert places(sheet(row("改了名"), row(task_id="img_20261123_001", product_name="新名")), wanted) == [3]
    both = sheet(row(), row(task_id="vid_20261123_009, img_20261123_001"))
    assert places(both, wanted) == [3]
    assert places(both, task(before, 2)) == [3]
    replaced = sheet(row(), row(task_id="img_20261123_001", product_image=picture("new")))
    assert places(replaced, wanted) == [3], "a person has replaced the picture"


def test_a_number_that_nobody_saw_in_its_own_row_makes_no_other_row_certain() -> None:
    """It was written when rows moved, or another table has the same one."""
    wanted = task(sheet(row()), 2)
    elsewhere = row("别的", task_id="img_20261123_001")
    assert places(sheet(elsewhere), wanted) == [None]
    assert places(sheet(elsewhere, row()), wanted) == [3]
    alike = row(product_image=picture("another"), task_id="img_20261123_001")
    assert places(sheet(alike, row()), wanted) == [3]


def test_a_number_and_texts_that_stand_in_two_rows_are_a_person_s_to_judge() -> None:
    """As after a sort of some columns only."""
    wanted = numbered(task(sheet(row()), 2))
    apart = sheet(row("别的", task_id="img_20261123_001"), row())
    with pytest.raises(
        RowNotFoundError, match=r"row 2 carries the task's number, but has '别的'.*stands in row 3"
    ) as told:
        RowFinder(apart).row_of(wanted)
    assert told.value.rows == (2, 3)


@pytest.mark.parametrize("other", [row("别的", product_image=None), row("别的", product_image=picture("q"))])
def test_a_number_in_a_row_with_another_name_whose_pictures_do_not_agree_is_not_believed(other: dict[str, Any]) -> None:
    wanted = numbered(task(sheet(row()), 2))
    assert places(sheet({**other, "task_id": "img_20261123_001"}), wanted) == [None]


def test_of_rows_that_are_alike_the_renamed_one_is_known_by_its_number() -> None:
    before = sheet(row(), row())
    tasks = [numbered(task(before, number, f"img_20261123_00{number}")) for number in (2, 3)]
    known = {record.task_id: TaskEntry.of(dataclasses.replace(record, row_number=9)) for record in tasks}
    after = sheet(row(task_id="img_20261123_003"), row("改了名", task_id="img_20261123_002"))
    finder = RowFinder(after, [], known.get)
    assert [finder.row_of(record) for record in tasks] == [3, 2]


def test_a_settled_task_s_number_keeps_no_row() -> None:
    before = sheet(row(), row())
    done = TaskEntry.of(dataclasses.replace(task(before, 2, "img_20261123_777"), stage=Stage.FINISHED))
    again = task(before, 2)
    after = sheet(row(task_id="img_20261123_777"), row())
    assert RowFinder(after, [Claim.of(again)], {done.task_id: done}.get).row_of(again) == 2


def test_a_row_that_was_entered_for_another_task_of_the_workflow_is_not_taken() -> None:
    before = sheet(row())
    wanted = task(before, 2)
    assert places(sheet(row(task_id="img_20261123_777"), row()), wanted) == [3]
    assert places(sheet(row(task_id="img_20261123_777")), wanted) == [2], "of one row it says nothing against"
    assert places(sheet(row(task_id="vid_20261123_777")), wanted) == [2]
    assert places(sheet(row(task_id="我们自己的号")), wanted) == [2]


def test_a_row_that_wants_another_picture_by_now_waits_for_a_person() -> None:
    wanted = numbered(task(sheet(row()), 2))
    with pytest.raises(RowNotFoundError, match="row 2 was changed: 提示词 was '红', and now is '蓝'") as caught:
        RowFinder(sheet(row(prompt="蓝", task_id="img_20261123_001"))).row_of(wanted)
    assert caught.value.rows == (2,)


def test_a_copied_number_tells_no_more_than_the_rest() -> None:
    wanted = task(sheet(row()), 2)
    copied = sheet(row(task_id="img_20261123_001"), row(prompt="蓝", task_id="img_20261123_001"))
    assert places(copied, wanted) == [2]


# ------------------------------------------------------------------ any change

ROWS = st.builds(
    row,
    st.sampled_from(["a", "b", "7", "007"]),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["红", "蓝", ""]),
    product_image=st.sampled_from([picture("p"), picture("q")]),
)


def _same(one: dict[str, Any], other: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(one[name] == other[name] for name in names)


@given(st.lists(ROWS, min_size=1, max_size=6), st.lists(ROWS, max_size=3), st.data())
def test_after_any_change_of_rows_no_result_goes_where_it_was_not_made_for(
    before: list[dict[str, Any]], new: list[dict[str, Any]], data: st.DataObject
) -> None:
    """And of rows that look the same each is given away once, while there are enough of them. Told by a mark in each
    row that the finder never reads."""
    marked = [{**cells, "video_status": f"mark {number}"} for number, cells in enumerate(before)]
    after = data.draw(st.permutations([*marked, *new]))[: data.draw(st.integers(0, len(marked) + len(new)))]
    first, then = sheet(*marked), sheet(*after)
    tasks = [task(first, number, f"img_20261123_{number:03}") for number in range(2, len(marked) + 2)]
    found = places(then, *tasks)
    rendered = ("product_name", "model_name", "prompt", "product_image")
    for cells in marked:
        alike = [number for number, other in zip(found, marked, strict=True) if _same(cells, other, rendered)]
        left = [one for one in after if _same(cells, one, rendered)]
        if len(alike) <= len(left):  # and none is left without
            assert None not in alike
            given = [number for number in alike if number is not None]
            assert len(given) == len(set(given))
    for number, cells in zip(found, marked, strict=True):
        if number is None or _same(cells, after[number - 2], rendered):
            continue
        # the only row with these texts: a person may have replaced its picture
        alike_in_texts = [one for one in after if _same(cells, one, rendered[:3])]
        assert alike_in_texts == [after[number - 2]]
        assert all(one.get("video_status") != cells["video_status"] for one in after), "its own row is there"


# ------------------------------------------------------------------ a row that is gone, and one that looks like it


def entered(number: int, name: str, **values: Any) -> TaskRecord:
    """A task of a row that was read whole, and said 否."""
    record = task(sheet(*[row()] * (number - 2), row(**values)), number, name)
    return dataclasses.replace(record, row_data={**record.row_data, "status": "否"})


def test_the_row_left_of_two_that_differ_in_a_picture_is_not_taken_where_it_is_another_one_s() -> None:
    """The red one was deleted while it was rendered. Else a person has replaced its picture."""
    red = entered(3, "img_20261123_001", product_image=picture("red"))
    blue = entered(2, "img_20261123_002", product_image=picture("blue"))
    left = row(product_image=picture("blue"))
    entries = [TaskEntry.of(blue)]

    def found(*rows: dict[str, Any], tasks: tuple[TaskEntry, ...] = (), wanted: TaskRecord = red) -> int | None:
        finder = RowFinder(sheet(*rows), [Claim.of(wanted)], tasks=lambda: tasks)
        try:
            return finder.row_of(wanted)
        except RowNotFoundError as error:
            return None if error.rows == (2,) and "with other pictures" in str(error) else -1

    assert found(left) == 2, "a person has replaced the picture"
    assert found(left, tasks=tuple(entries)) is None, "the other one's task"
    assert found({**left, "image_status": "已完成"}) is None, "done before it was entered"
    assert found({**left, "task_id": "img_20261123_002"}) is None, "the other one's number"
    assert found({**left, "task_id": "vid_20261123_002"}) == 2, "of the other workflow"
    assert found(left, wanted=numbered(red)) is None, "its own number is gone"
    assert found({**left, "task_id": red.task_id}, wanted=numbered(red)) == 2, "its own number"
    assert found(row(product_image=picture("red")), tasks=tuple(entries), wanted=numbered(red)) == 2


PUSHED = Outbox(state=FeishuState.PUSHED, pushed_at="2026-11-23T09:00:00+08:00")


@pytest.mark.parametrize("pictures", [picture("p"), "https://shop.example/p.jpg", None], ids=["token", "text", "none"])
def test_the_row_left_of_two_that_look_the_same_is_not_taken_where_it_has_its_result(pictures: Any) -> None:
    """The other one was deleted while it was rendered."""
    names = {"product_image": pictures, "model_image": pictures}
    done = dataclasses.replace(entered(2, "img_20261123_001", **names), outbox=PUSHED)
    mine = entered(3, "img_20261123_002", **names)
    left = row(**names, composite_image=picture("r"), image_status="已完成")

    def found(*rows: dict[str, Any], wanted: TaskRecord = mine, tasks: tuple[TaskRecord, ...] = (done,)) -> int | None:
        finder = RowFinder(sheet(*rows), [Claim.of(wanted)], tasks=lambda: map(TaskEntry.of, tasks))
        try:
            return finder.row_of(wanted)
        except RowNotFoundError as error:
            return None if error.rows == (2,) and "done already" in str(error) else -1

    assert found(left) is None
    assert found({**left, "task_id": done.task_id}) is None
    assert found({**left, "task_id": done.task_id}, wanted=numbered(mine), tasks=()) is None, "its own number is gone"
    assert found({**left, "image_status": "否"}) == 2, "it is wanted anew, and they are interchangeable"
    assert found(left, tasks=()) == 2, "a person has marked it"
    assert found(left, wanted=dataclasses.replace(mine, outbox=PUSHED)) == 2, "it was delivered before"


def test_results_of_rows_that_look_the_same_come_in_one_by_one_and_none_is_written_over() -> None:
    """A row was inserted on top: each one's number is another one's by now, which has its result."""
    tasks = [entered(number, f"img_20261123_00{number}") for number in (2, 3, 4)]
    rows, taken = [row("新"), row(), row(), row()], list[int]()
    for one in tasks:
        number = RowFinder(sheet(*rows), [Claim.of(one)]).row_of(one)
        taken.append(number)
        rows[number - 2] = {**rows[number - 2], "composite_image": picture(f"r{number}"), "image_status": "已完成"}
    assert sorted(taken) == [3, 4, 5]


def test_a_result_that_is_delivered_again_goes_where_the_former_one_stands() -> None:
    again = entered(2, "img_20261123_001")
    again = dataclasses.replace(again, outbox=Outbox(pushed_at="2026-11-23T10:00:00+08:00"))
    table = sheet(row(composite_image=picture("r"), image_status="已完成"), row())
    assert RowFinder(table, [Claim.of(again)]).row_of(again) == 2
