"""No surprise on the bill: what a recovery will cost is told before, and a run sends no more than it may."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_support import Cloud, Office, Run, Scripted, hurry, row

from wfrecovery import bridge
from wfrecovery.bridge.cli.main import main
from wfrecovery.bridge.recovery import following


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    hurry(monkeypatch)
    with Cloud() as found:
        yield found


@pytest.fixture
def office(cloud: Cloud, tmp_path: Path) -> Office:
    return Office(cloud, tmp_path)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file, with its bytes and when it was last written; of the beats, which the test's own former programs go
    on moving, the name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    beats = lambda path: path.parent.name == "owners" and path.suffix == ".json"  # noqa: E731
    return {
        str(path.relative_to(folder)): (b"", 0) if beats(path) else (path.read_bytes(), path.stat().st_mtime_ns)
        for path in files
    }


def planned(office: Office, **settings: Any) -> bridge.RecoveryPlan:
    """By a program that has only just begun."""
    return asyncio.run(office.main_py(**settings).recovery.plan())


def every_kind_of_task(office: Office, cloud: Cloud) -> dict[str, int]:
    """One row of each, by what is planned for it."""
    done = office.main_py().enters(2)
    cloud.finish()
    forgotten = office.main_py().enters(3)
    cloud.cloud.forget(office.task(forgotten)["comfyui_task_id"])
    runs = office.main_py().enters(4)
    cloud.answer_lost(accepted=True)
    lost = office.main_py().enters(5)
    cloud.down()
    unsent = office.main_py().enters(6)
    cloud.up()
    nothing = office.main_py()
    no_graph = nothing.db.add_workflow_task(row(7), "图片合成")
    nothing.db.release_task(no_graph)
    return {done: 2, forgotten: 3, runs: 4, lost: 5, unsent: 6, no_graph: 7}


def test_a_plan_tells_what_the_recovery_does_and_changes_nothing(office: Office, cloud: Cloud) -> None:
    rows = every_kind_of_task(office, cloud)
    before = contents(office.folder)
    plan = planned(office)
    assert contents(office.folder) == before
    assert {task.row_number: task.action.value for task in plan.tasks} == {
        2: "collect",
        3: "ask",
        4: "follow",
        5: "ask",
        6: "requeue",
        7: "fail",
    }
    assert (plan.renders, plan.again) == (1, 0)
    assert {task.row_number for task in plan.asking} == {3, 5}
    assert all(task.decisions == {"again": 1, "leave": 1, "arrived": 0} for task in plan.asking)
    assert [task.row_number for task in plan.tasks if task.row_stays_open] == [7]
    paid = {number: cloud.paid(number) for number in rows.values()}
    office.main_py().looks()
    assert {number: cloud.paid(number) - paid[number] for number in paid} == {2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 0}


def test_what_is_paid_for_again_is_told_with_its_reason(office: Office, cloud: Cloud) -> None:
    rows = every_kind_of_task(office, cloud)
    again = {"unknown": "again"}
    office.main_py(**again).looks()  # what waits for a person goes on waiting
    cloud.forget()
    plan = planned(office, **again)
    reasons = {task.row_number: task.again for task in plan.tasks if task.again}
    assert plan.again == plan.renders == len(reasons) > 0
    assert all("not known there" in str(reason) for reason in reasons.values())
    paid = {number: cloud.paid(number) for number in rows.values()}
    office.main_py(**again).looks()
    assert sum(cloud.paid(number) for number in paid) - sum(paid.values()) == plan.renders


def test_a_plan_leaves_to_others_what_is_theirs(office: Office, cloud: Cloud) -> None:
    at_work = office.main_py()
    task_id = at_work.db.add_workflow_task(row(2), "图片合成")
    (task,) = planned(office).tasks
    assert (task.action, "at work on it" in task.reason.en) == (bridge.Action.LEAVE, True)
    at_work.db.release_task(task_id)
    (task,) = planned(office).tasks
    assert task.action is bridge.Action.FAIL


def test_a_plan_keeps_to_the_limit(office: Office, cloud: Cloud) -> None:
    cloud.down()
    for number in (2, 3, 4):
        office.main_py().enters(number)
    cloud.up()
    plan = planned(office, max_renders="2")
    assert [task.action.value for task in plan.tasks] == ["requeue", "requeue", "leave"]
    assert plan.renders == 2


def test_a_dry_run_prints_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = bridge.DatabaseManager(tmp_path)
    task_id = db.add_workflow_task(row(2), "图片合成")
    db.release_task(task_id)
    before = contents(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WFRECOVERY_OUTPUT", str(tmp_path))
        patch.setenv("COMFYUI_URL", "http://127.0.0.1:9")
        assert main(["recover", "--dry-run", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert main(["recover", "--dry-run", "--lang", "zh"]) == 0
    assert [(task["task_id"], task["action"], task["row_stays_open"]) for task in told["tasks"]] == [
        (task_id, "fail", True)
    ]
    assert (told["renders"], told["again"]) == (0, 0)
    said = capsys.readouterr().out
    assert task_id in said
    assert "提交之前就已丢失" in said
    assert contents(tmp_path) == before


# ------------------------------------------------------------------ a limit for each run


def batch(run: Run, numbers: range, workflow: Callable[[int], Any]) -> tuple[list[str], list[str | None]]:
    """Recover, then enter and submit rows one after the other; what the limit held back is None."""
    tasks: list[str] = []
    ids: list[str | None] = []
    said: list[str] = []

    async def story() -> None:
        await run.recovery.check_and_recover_tasks()
        for number in numbers:
            tasks.append(run.db.add_workflow_task(row(number), "图片合成"))
            try:
                ids.append(await run.recovery.submit(tasks[-1], workflow(number)))
            except bridge.RenderLimitError as error:
                ids.append(None)
                said.append(error.wording.zh)

    with run._ending():
        asyncio.run(story())
    assert all("WFRECOVERY_MAX_RENDERS" in text for text in said)
    return tasks, ids


def test_a_run_sends_no_more_than_it_may_and_the_next_ones_go_on(office: Office, cloud: Cloud) -> None:
    tasks, ids = batch(office.main_py(max_renders="2"), range(2, 7), cloud.client_workflow)
    assert [job is None for job in ids] == [False, False, True, True, True]
    assert [cloud.paid(number) for number in range(2, 7)] == [1, 1, 0, 0, 0]
    assert {office.task(task_id)["metadata"]["feishu"]["state"] for task_id in tasks} == {"pending"}
    assert [office.task(task_id)["metadata"]["stage"] for task_id in tasks[2:]] == ["created"] * 3
    office.main_py(max_renders="2").looks()  # what recovery sends counts as well
    assert [cloud.paid(number) for number in range(2, 7)] == [1, 1, 1, 1, 0]
    office.main_py(max_renders="2").looks()
    cloud.finish()
    office.main_py(max_renders="2").recovers()
    assert [cloud.paid(number) for number in range(2, 7)] == [1] * 5
    assert {office.task(task_id)["status"] for task_id in tasks} == {"已完成"}


def test_what_recovery_sends_leaves_less_for_the_batch(office: Office, cloud: Cloud) -> None:
    cloud.down()
    office.main_py().enters(2)
    cloud.up()
    _, ids = batch(office.main_py(max_renders="2"), range(3, 5), cloud.client_workflow)
    assert [job is None for job in ids] == [False, True]
    assert [cloud.paid(number) for number in (2, 3, 4)] == [1, 1, 0]


def test_busy_refused_and_not_sent_cost_nothing_of_the_limit(office: Office, cloud: Cloud) -> None:
    run = office.main_py(max_renders="2")
    cloud.refuse()
    batch(run, range(2, 3), cloud.client_workflow)
    cloud.busy(3)
    _, ids = batch(run, range(3, 6), cloud.client_workflow)
    assert [job is None for job in ids] == [False, False, True]


def test_what_is_not_answered_may_be_paid_for_and_counts(office: Office, cloud: Cloud) -> None:
    cloud.answer_lost(accepted=True)
    batch(office.main_py(max_renders="2"), range(2, 6), cloud.client_workflow)
    assert [cloud.paid(number) for number in range(2, 6)] == [1, 1, 0, 0]


def test_a_program_cannot_fail_what_was_held_back(office: Office, cloud: Cloud) -> None:
    """The usual `except Exception: db.mark_task_failed(…)` would write 失败 into the sheet."""
    run = office.main_py(max_renders="1")
    client = run.recovery.comfyui_client
    tasks = []

    async def process_row(number: int) -> None:
        tasks.append(run.db.add_workflow_task(row(number), "图片合成"))
        try:
            await client.submit_workflow(cloud.client_workflow(number))
        except Exception as error:
            run.db.mark_task_failed(tasks[-1], str(error))

    async def story() -> None:
        for number in (2, 3):
            await process_row(number)

    with run._ending():
        asyncio.run(story())
    assert [office.task(task_id)["status"] for task_id in tasks] == ["在处理中"] * 2
    office.main_py(max_renders="1").looks()
    assert [cloud.paid(2), cloud.paid(3)] == [1, 1]


def test_what_waits_for_its_turn_was_not_sent(office: Office, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed there, nobody has to be asked."""
    cloud.down()
    task_id = office.main_py().enters(2)
    cloud.up()
    monkeypatch.setattr(following, "LOOK_SECONDS", 60.0)
    run = office.main_py()

    async def killed() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(run.recovery.check_and_recover_tasks(), 0.5)

    asyncio.run(killed())
    assert office.task(task_id)["metadata"]["stage"] == "created"
    assert office.task(task_id)["metadata"].get("sending") is None


# ------------------------------------------------------------------ progress and exit code


@pytest.mark.parametrize("on_terminal", [True, False])
def test_a_long_recovery_shows_how_far_it_is(on_terminal: bool, tmp_path: Path) -> None:
    """By itself, where stderr is a terminal; nothing otherwise."""
    db = bridge.DatabaseManager(tmp_path)
    for number in range(2, 30):
        db.release_task(db.add_workflow_task(row(number), "图片合成"))
    terminal, stderr = pty.openpty() if on_terminal else os.pipe()
    with open(stderr, "w", encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123
        patch.setattr(sys, "stderr", stream)
        service = Scripted(plain=True)
        manager = bridge.TaskRecoveryManager(
            bridge.DatabaseManager(tmp_path), service.client(), settings=bridge.Settings()
        )
        ended = asyncio.run(manager.check_and_recover_tasks())
        stream.write(".")
        stream.flush()
        shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert len(ended) == 28
    assert ("28/28" in shown and "8/28" in shown and "17/28" in shown) if on_terminal else shown == "."


def test_the_exit_code_tells_of_failures(office: Office, cloud: Cloud) -> None:
    well = office.main_py().enters(2)
    cloud.finish()
    office.main_py().recovers()
    refused = office.main_py()
    cloud.refuse()
    failed = refused.enters(3)
    runs = office.main_py().enters(4)
    cancelled = office.main_py().enters(5)
    office.wish_away(cancelled)
    office.main_py().looks()
    good, bad = [office.task(well), office.task(cancelled)], [office.task(failed), office.task(runs)]
    assert bridge.exit_code(good) == bridge.exit_code([]) == 0
    for other in (*bad, None, bridge.EngineError("gone")):
        assert bridge.exit_code([*good, other]) == 1
    blocked = {**good[0], "metadata": {**good[0]["metadata"], "feishu": {"state": "blocked"}}}
    assert bridge.exit_code([blocked]) == 1


def test_what_was_lost_before_it_was_submitted_is_well_once_its_row_is_rendered(office: Office, cloud: Cloud) -> None:
    office.main_py().db.add_workflow_task(row(2), "图片合成")  # and it dies
    (lost,) = office.main_py().recovers()
    assert (lost["status"], bridge.exit_code([lost])) == ("失败", 1)
    again = office.main_py().enters(2)
    other = office.main_py().enters(3)
    cloud.finish()
    office.main_py().recovers()
    assert bridge.exit_code([lost, office.task(again)]) == 0
    assert bridge.exit_code([lost, office.task(other)]) == 1
    assert bridge.failures([lost, office.task(other), office.task(again)]) == []
    assert bridge.failures([lost, office.task(other)]) == [lost]
    moved = {**office.task(again), "row_number": 7}  # somebody has inserted rows meanwhile
    assert bridge.exit_code([lost, moved]) == 0


def test_each_of_rows_that_look_the_same_has_to_be_rendered_again(office: Office, cloud: Cloud) -> None:
    office.main_py().db.add_workflow_task(row(2), "图片合成")
    (lost,) = office.main_py().recovers()
    once = office.main_py().enters(2)
    cloud.finish()
    office.main_py().recovers()
    rendered = office.task(once)
    both = [{**lost, "task_id": "img_20200101_001"}, {**lost, "task_id": "img_20200101_002"}]
    assert bridge.failures([*both, rendered]) == both[1:]
    after_it = {**lost, "task_id": "img_29991231_001"}
    assert bridge.failures([after_it, rendered]) == [after_it]
    first, second = ({**lost, "task_id": f"img_20200101_00{number}"} for number in (1, 3))
    third, fourth = ({**rendered, "task_id": f"img_20200101_00{number}"} for number in (2, 4))
    assert bridge.exit_code([fourth, third, first, second, first]) == 0  # in any order, and told twice


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"prompt": "黑色"}, {"prompt": "白色"}),  # a person has edited it meanwhile
        ({"product_image": "old"}, {"product_image": "new"}),
        (None, {"prompt": ""}),  # an older program did not know its 提示词
    ],
)
def test_a_row_that_a_person_has_edited_is_told_by_its_number(
    office: Office, cloud: Cloud, before: dict[str, str] | None, after: dict[str, str]
) -> None:
    office.main_py().db.add_workflow_task(row(2), "图片合成")
    (lost,) = office.main_py().recovers()
    again = office.main_py().enters(2)
    cloud.finish()
    office.main_py().recovers()
    assert bridge.exit_code([_with_row(lost, before), _with_row(office.task(again), after)]) == 0


def _with_row(task: dict[str, Any], parts: dict[str, str] | None) -> dict[str, Any]:
    metadata = dict(task["metadata"])
    metadata["row"] = {**metadata["row"], **(parts or {})}
    if parts is None:
        del metadata["row"]
        metadata["feishu_row_data"] = {**metadata.get("feishu_row_data", {}), "prompt": ""}
    return {**task, "metadata": metadata}
