"""Whatever the service may be like where nobody knows: each picture in its row once, or a reason.

What is unknown of Feishu is drawn by chance (`WFRECOVERY_SEEDS` times six, printed), people move and type in between.
Told by the pictures' content.
"""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
from publishing_support import PICTURE, STATUS, Image, Team, rows

from wfrecovery.bridge.feishu.picture_delivery import MOST_SENDS
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, FeishuStandIn, Picture, Switches

SEEDS = range(6 * int(os.environ.get("WFRECOVERY_SEEDS", "1")))
ROWS = 7


def edited(feishu: FeishuStandIn, dice: random.Random, number: int) -> None:
    """What a colleague does between two flushes."""
    sheet = feishu.sheet
    match dice.choice(["insert", "sort", "note", "column", "column gone", "drag", "nothing"]):
        case "insert":
            sheet.insert_row(
                dice.randint(2, sheet.last_row), {"产品名": f"新品{number}", "模特名": "新人", STATUS: "否"}
            )
        case "sort":
            sheet.sort("产品名", reverse=dice.random() < 0.5)
        case "note":
            sheet.set(f"K{dice.randint(2, sheet.last_row)}", f"note {number}")
        case "column":
            sheet.insert_column(sheet.find(dice.choice(DEFAULT_HEADER)), f"列{number}")
        case "column gone" if gone := [title for title in sheet.titles if title.startswith("列")]:
            sheet.delete_column(sheet.find(dice.choice(gone)))
        case "drag":
            sheet.move_column(sheet.find(dice.choice(DEFAULT_HEADER)), sheet.find(dice.choice(DEFAULT_HEADER)))


def delivered(team: Team, dice: random.Random) -> dict[str, str]:
    """Rows trickle in and are flushed while people edit; task id → SHA-256 of its picture."""
    digests = {}
    for number, row in enumerate(dice.sample(range(1, ROWS + 1), ROWS)):
        (place,) = team.feishu.sheet.find_rows(产品名=f"产品{row}")
        task_id = team.finished(place, picture=Image.new("RGB", (4, 4), (row * 30, 7, 9)))
        digests[task_id] = hashlib.sha256((team.folder / team.record(task_id).output_files[0]).read_bytes()).hexdigest()
        team.publisher.flush()
        edited(team.feishu, dice, number)
    for _ in range(12):
        team.clock.now += 400
        team.publisher.flush()
    return digests


def sent(team: Team, digest: str) -> int:
    return sum(write.sha256 == digest for write in team.feishu.sheet.picture_writes)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_picture_comes_into_its_row_once(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    switches = Switches.drawn(dice)
    print(f"seed {seed}: {switches}")
    with FeishuStandIn(rows(ROWS), switches=switches) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        for task_id, digest in delivered(team, dice).items():
            team.assert_delivered(task_id)
            assert sent(team, digest) == 1
        for number in range(2, feishu.sheet.last_row + 1):
            row = feishu.sheet.row(number)
            if str(row["产品名"]).startswith("新品"):
                assert (row[STATUS], row[PICTURE]) == ("否", None)


@pytest.mark.parametrize("seed", SEEDS)
def test_where_nothing_can_be_seen_a_person_is_asked(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that show late or never, readings that are behind: nothing is sent without end, nothing goes astray."""
    monkeypatch.setattr("wfrecovery.bridge.feishu.picture_delivery._SEEN_WITHIN", 0.0)
    dice = random.Random(seed)
    switches = Switches.drawn(dice, harsh=True)
    print(f"seed {seed}: {switches}")
    with FeishuStandIn(rows(ROWS), switches=switches) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        for task_id, digest in delivered(team, dice).items():
            record = team.record(task_id)
            state = record.feishu_state
            assert 1 <= sent(team, digest) <= MOST_SENDS
            assert state is FeishuState.PUSHED or (state is FeishuState.BLOCKED and record.outbox.last_error)
            cell = team.row(record.product_name)[PICTURE]
            if state is FeishuState.PUSHED:
                assert isinstance(cell, Picture)
                assert cell.sha256 == digest


def test_a_revision_that_never_changes_proves_nothing(tmp_path: Path) -> None:
    """Rows have moved between two flushes, and the answers' number is what it was."""
    with FeishuStandIn(rows(4), switches=Switches(revision="still")) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        tasks = [team.finished(2)]
        team.flush_until_quiet()
        tasks.append(team.finished(3))
        feishu.sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "否"})
        team.flush_until_quiet()
        for task_id in tasks:
            team.assert_delivered(task_id)
