"""Whether Feishu gives a picture back as the bytes that it got is documented nowhere: what a cell shows is known by its
pixels as well."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, Image, Team, rows

from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn, Picture, Switches


@pytest.fixture(params=["as written", "written anew"])
def team(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    """Rows that show another picture each already."""
    shown = [{**row, PICTURE: png((200, number, 0))} for number, row in enumerate(rows(6), 2)]
    with FeishuStandIn(shown, switches=Switches(downloads=request.param, revision="missing")) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        yield Team(feishu, tmp_path)


def png(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (5, 4), colour).save(out, "PNG")
    return out.getvalue()


def colour(cell: Any) -> Any:
    assert isinstance(cell, Picture), cell
    return Image.open(io.BytesIO(cell.data)).convert("RGB").getpixel((0, 0))


def colours(team: Team) -> dict[str, Any]:
    """Of all rows, by product."""
    numbers = range(2, team.feishu.sheet.last_row + 1)
    found = {team.feishu.sheet.row(number)["产品名"]: team.feishu.sheet.row(number)[PICTURE] for number in numbers}
    return {name: colour(cell) for name, cell in found.items() if cell is not None}


def entered(team: Team, number: int) -> str:
    """As main.py reads the row."""
    task_id = team.finished(number)
    token = team.publisher._feishu.read_sheet().picture(number)
    shown = {"composite_image": token, "status": "否"}
    team.db.table.update(task_id, lambda task: dataclasses.replace(task, row_data={**task.row_data, **shown}))
    return task_id


def test_a_row_that_got_another_s_picture_has_its_own_again(team: Team) -> None:
    task_id, before = entered(team, 3), colours(team)
    write, sheet = team.publisher._feishu.write_picture, team.feishu.sheet

    def moved(*arguments: Any) -> Any:
        team.publisher._feishu.write_picture = write  # type: ignore[method-assign]
        sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "否"})
        return write(*arguments)

    team.publisher._feishu.write_picture = moved  # type: ignore[method-assign,assignment]
    team.flush_until_quiet()
    assert team.state(task_id) is FeishuState.PUSHED, team.record(task_id).outbox.last_error
    assert colours(team) == {**before, "产品2": (3, 0, 77)}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_lost_answer_sends_no_picture_twice(team: Team, *, restarted: bool) -> None:
    task_id, before = entered(team, 3), colours(team)
    team.feishu.faults.add(Fault.RESET_AFTER, "values_image")
    team.publisher.flush()
    if restarted:
        team.publisher = team.new_publisher()
    team.clock.now += 400
    team.flush_until_quiet()
    assert team.state(task_id) is FeishuState.PUSHED, team.record(task_id).outbox.last_error
    assert colours(team) == {**before, "产品2": (3, 0, 77)}
    assert len(team.feishu.sheet.picture_writes) == 1


def test_a_person_s_picture_stays_theirs(team: Team) -> None:
    task_id, before = entered(team, 3), colours(team)
    team.feishu.sheet.set(f"{team.feishu.sheet.find(PICTURE)[0]}3", png((9, 9, 9)))
    team.publisher.flush()
    assert team.state(task_id) is FeishuState.BLOCKED
    assert colours(team) == {**before, "产品2": (9, 9, 9)}
