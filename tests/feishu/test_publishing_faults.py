"""Three of ten calls to Feishu fail, in eighteen ways, while people move rows: each result arrives once, in its row.

`WFRECOVERY_STORY_ROWS=100` is the full size (40).
"""

from __future__ import annotations

import os
import random
import secrets
import time
from pathlib import Path

import pytest
from publishing_support import PICTURE, STATUS, Team, rows

from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import RETRYABLE, Fault, FeishuStandIn

ROWS = int(os.environ.get("WFRECOVERY_STORY_ROWS", "40"))
WAYS = (*RETRYABLE, Fault.SLOW, Fault.SLOW_BEFORE)
#: seconds: a slow answer comes after the client has given up
TIMEOUT, SLOW = 0.5, 0.8
FLUSHES = 400


@pytest.fixture(params=["11", *(f"any {number}" for number in range(int(os.environ.get("WFRECOVERY_SEEDS", "0"))))])
def seed(request: pytest.FixtureRequest) -> int:
    """A fixed seed, and WFRECOVERY_SEEDS new ones each time; printed, so that a failure can be repeated."""
    number = int(request.param) if request.param.isdecimal() else secrets.randbelow(10**9)
    print(f"seed {number}")
    return number


def flush_while_it_fails(team: Team, seed: int, *, move: bool) -> int:
    """Flush until nothing is left, new publishers now and then; returns how often rows were changed."""
    dice, changes = random.Random(seed), 0
    team.feishu.faults.random(seed, 0.3, WAYS, seconds=SLOW)
    for _ in range(FLUSHES):
        team.publisher.flush()
        if not team.db.unpushed():
            team.feishu.faults.clear()
            return changes
        team.clock.now += 400
        until_idle(team.feishu)
        if dice.random() < 0.2:
            team.publisher = team.new_publisher(timeout=TIMEOUT)  # as after a restart
        if move and dice.random() < 0.7:
            changes += 1
            change_rows(team.feishu, dice, changes)
    raise AssertionError([task.outbox for task in team.db.unpushed()])


def until_idle(feishu: FeishuStandIn) -> None:
    """Feishu has ended what it is at work on: back-off lasts longer than that, though not by a clock that jumps."""
    deadline = time.monotonic() + 120
    while feishu.service.busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def change_rows(feishu: FeishuStandIn, dice: random.Random, number: int) -> None:
    sheet = feishu.sheet
    match dice.choice(["insert", "insert", "delete", "sort", "swap"]):
        case "insert":
            row = {"产品名": f"新品{number}", "模特名": "新人", "提示词": "新", STATUS: "否"}
            sheet.insert_row(dice.randint(2, sheet.last_row), row)
        case "delete":
            sheet.delete_row(dice.randint(2, sheet.last_row))
        case "sort":
            sheet.sort("产品名", reverse=dice.random() < 0.5)
        case "swap":
            sheet.sort("提示词")


def test_every_picture_and_status_arrives_once_in_its_own_row(seed: int, tmp_path: Path) -> None:
    with FeishuStandIn(rows(ROWS)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path, timeout=TIMEOUT)
        tasks = [team.finished(row) for row in range(2, ROWS + 2)]
        flush_while_it_fails(team, seed, move=False)
        assert len(feishu.faults.struck) >= 8, feishu.faults.struck
        assert sum(feishu.faults.struck.values()) >= 0.1 * len(feishu.calls)
        for task_id in tasks:
            team.assert_delivered(task_id)
        assert len(feishu.sheet.picture_writes) == ROWS, "a picture was written twice"
        assert feishu.overlaps == 0


def test_rows_that_are_inserted_deleted_and_sorted_between_flushes_get_nothing_of_others(
    seed: int, tmp_path: Path
) -> None:
    with FeishuStandIn(rows(ROWS)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path, timeout=TIMEOUT)
        tasks = [team.finished(row) for row in range(2, ROWS + 2)]
        assert flush_while_it_fails(team, seed, move=True) >= 3
        there = team.products()
        for task_id in tasks:
            record = team.record(task_id)
            if record.product_name in there:
                team.assert_delivered(task_id)
            elif team.state(task_id) is FeishuState.BLOCKED:
                assert f"产品名 '{record.product_name}'" in (record.outbox.last_error or "")
                assert "stands in no row" in (record.outbox.last_error or "")
                assert "哪一行都没有" in (record.outbox.last_error_zh or "")
            else:
                assert team.state(task_id) is FeishuState.PUSHED, "it was there before the row was deleted"
        for product in there:
            if product.startswith("新品"):
                assert (team.row(product)[STATUS], team.row(product)[PICTURE]) == ("否", None)
        assert len(feishu.sheet.picture_writes) == len({write.sha256 for write in feishu.sheet.picture_writes})
        assert feishu.overlaps == 0
