"""Of rows that look the same, each has a result of its own: what is delivered once more goes where it stands, also when
rows have moved since."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from publishing_support import PICTURE, STATUS, VIDEO, Image, Team, rows

from wfrecovery.bridge.feishu.deciding import write_anyway
from wfrecovery.bridge.table.changes import sent_once_more
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, Fault, FeishuStandIn, Picture, Sheet

MARK, KIND = "备注", "图片合成"
COUNT = 3
NEW = 200


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    texts = {"产品名": "裙子", "模特名": "模特", "提示词": "白色", STATUS: "否", VIDEO: "否"}
    cells = [*({**texts, MARK: f"mark {n}"} for n in range(COUNT)), *({**row, MARK: row["产品名"]} for row in rows(2))]
    with FeishuStandIn(cells, header=(*DEFAULT_HEADER, MARK)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        yield Team(feishu, tmp_path)


def rendered(team: Team, task_id: str, shade: int) -> str:
    """The digest of the picture."""
    path = team.folder / f"{task_id}_{shade}.png"
    Image.new("RGB", (4, 4), (shade, 3, 77)).save(path)
    assert team.db.complete_task(task_id, [path])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def delivered(team: Team, shades: Sequence[int] = range(COUNT)) -> list[str]:
    """The tasks of the rows, the first of them with their pictures in the sheet."""
    tasks = [team.db.add_workflow_task(row, KIND) for row in team.publisher._feishu.read_rows()[:COUNT]]
    for task_id, shade in zip(tasks, shades, strict=False):
        rendered(team, task_id, shade)
    team.publisher.flush()
    return tasks


def rendered_anew(team: Team, task_id: str) -> str:
    team.db.table.update(task_id, sent_once_more)
    return rendered(team, task_id, NEW)


def pushed_again(team: Team, task_id: str) -> None:
    """By a person; the publisher is a new one."""
    team.db.deliver_here(task_id, str(team.settings.document))
    team.publisher = team.new_publisher()
    team.publisher.flush()


def shown(team: Team) -> dict[str, str | None]:
    """By mark."""
    found: dict[str, str | None] = {}
    for number in range(2, team.feishu.sheet.last_row + 1):
        row = team.feishu.sheet.row(number)
        cell = row[PICTURE]
        found[str(row[MARK])] = cell.sha256 if isinstance(cell, Picture) else None
    return found


def inserted_above(sheet: Sheet) -> None:
    sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", "提示词": "新", STATUS: "否", MARK: "new"})


def an_alike_one_above(sheet: Sheet) -> None:
    sheet.insert_row(2, {"产品名": "裙子", "模特名": "模特", "提示词": "白色", STATUS: "否", MARK: "new"})


def turned(sheet: Sheet) -> None:
    sheet.sort(MARK, reverse=True)


def one_deleted(sheet: Sheet) -> None:
    sheet.delete_row(2)


def nothing(sheet: Sheet) -> None:
    """Nothing has moved."""


#: How many are delivered, and which of these once more.
DELIVERED = [(1, 0), (2, 1), (COUNT, 0), (COUNT, 1), (COUNT, 2)]
MOVES = [nothing, inserted_above, an_alike_one_above, turned, one_deleted]
AGAIN = [
    *((moved, *which, True) for moved in MOVES for which in DELIVERED if moved is not one_deleted or which[1]),
    *((moved, *which, False) for moved in (an_alike_one_above, turned) for which in DELIVERED[::2]),
]


@pytest.mark.parametrize(("moved", "done", "again", "anew"), AGAIN)
def test_what_is_delivered_again_goes_where_it_stands(
    team: Team, moved: Callable[[Sheet], None], done: int, again: int, anew: bool
) -> None:
    """Rendered `anew`, or the same one pushed again."""
    tasks = delivered(team, range(done))
    moved(team.feishu.sheet)
    before = shown(team)
    digest = rendered_anew(team, tasks[again]) if anew else before[f"mark {again}"]
    pushed_again(team, tasks[again])
    assert shown(team) == {**before, f"mark {again}": digest}


@pytest.mark.parametrize("again", range(COUNT))
@pytest.mark.parametrize("moved", [turned, inserted_above])
def test_what_is_rendered_anew_by_itself_goes_where_it_stands(
    team: Team, moved: Callable[[Sheet], None], again: int
) -> None:
    tasks = delivered(team)
    moved(team.feishu.sheet)
    before = shown(team)
    digest = rendered_anew(team, tasks[again])
    team.flush_until_quiet()
    assert shown(team) == {**before, f"mark {again}": digest}


@pytest.mark.parametrize("again", range(COUNT))
@pytest.mark.parametrize("shades", [(5, 5, 5), (5, 6, 7)], ids=["the very same pictures", "others"])
def test_what_was_taken_out_comes_back_into_its_row(team: Team, again: int, shades: tuple[int, ...]) -> None:
    tasks = delivered(team, shades)
    before = shown(team)
    sheet = team.feishu.sheet
    for title, value in ((PICTURE, None), (STATUS, "否")):
        sheet.set(f"{sheet.find(title)}{2 + again}", value)
    pushed_again(team, tasks[again])
    assert shown(team) == before


@pytest.mark.parametrize("again", range(COUNT))
def test_what_was_taken_out_before_rows_moved_waits_for_a_person_who_names_its_row(team: Team, again: int) -> None:
    """And then it goes there, whatever it shows, and wherever else the former one stands."""
    tasks = delivered(team)
    sheet = team.feishu.sheet
    sheet.set(f"{sheet.find(PICTURE)}{2 + again}", None)
    an_alike_one_above(sheet)
    own = sheet.find_rows(**{MARK: f"mark {again}"})[0]
    sheet.set(f"{sheet.find(STATUS)}2", "已完成")  # somebody does it by hand
    before = shown(team)
    pushed_again(team, tasks[again])
    if again == 0:  # its number is the new row's
        assert team.state(tasks[again]) is FeishuState.BLOCKED
    assert {mark: cell for mark, cell in shown(team).items() if mark != f"mark {again}"} == {
        mark: cell for mark, cell in before.items() if mark != f"mark {again}"
    }
    write_anyway(team.db, team.publisher._feishu, tasks[again], own)
    team.publisher.flush()
    path = team.folder / team.record(tasks[again]).output_files[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert shown(team) == {**before, f"mark {again}": digest}


@pytest.mark.parametrize("row", range(2, 2 + COUNT))
def test_the_row_that_a_person_has_named_is_the_one(team: Team, row: int) -> None:
    tasks = delivered(team)
    digest = rendered_anew(team, tasks[1])
    write_anyway(team.db, team.publisher._feishu, tasks[1], row)
    team.publisher.flush()
    assert team.feishu.sheet.row(row)[PICTURE].sha256 == digest


def test_pictures_that_cannot_be_looked_at_are_waited_for(team: Team) -> None:
    tasks = delivered(team)
    turned(team.feishu.sheet)
    before = shown(team)
    digest = rendered_anew(team, tasks[0])
    team.feishu.faults.add(Fault.HTTP_500_JSON, match="media", times=None)
    pushed_again(team, tasks[0])
    assert shown(team) == before
    assert team.state(tasks[0]) is FeishuState.PENDING
    team.feishu.faults.clear()
    team.flush_until_quiet()
    assert shown(team) == {**before, "mark 0": digest}


def test_where_nothing_has_moved_one_picture_is_looked_at(team: Team) -> None:
    """Each look is a call, and there may be many rows that look the same."""
    tasks = delivered(team)
    rendered_anew(team, tasks[2])
    pushed_again(team, tasks[2])
    assert team.feishu.count("media") == 1


@pytest.mark.parametrize("again", range(COUNT))
@pytest.mark.parametrize("moved", [nothing, inserted_above, turned])
def test_it_is_found_where_feishu_gives_back_other_bytes_than_it_got(
    team: Team, moved: Callable[[Sheet], None], again: int
) -> None:
    """That it gives back the same ones is documented nowhere."""
    team.feishu.switches.downloads = "written anew"
    tasks = delivered(team)
    moved(team.feishu.sheet)
    before = shown(team)
    digest = rendered_anew(team, tasks[again])
    pushed_again(team, tasks[again])
    assert shown(team) == {**before, f"mark {again}": digest}
