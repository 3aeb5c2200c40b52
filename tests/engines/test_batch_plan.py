"""What a whole batch will cost, before it begins: which rows are rendered, which are not and why, which again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cloud_support import Office, Scripted, hurry, row
from test_bill import contents

from wfrecovery import bridge
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

IMAGE, FILM = "图片合成", "图生视频"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    hurry(monkeypatch)
    return Scripted(plain=True)


@pytest.fixture
def office(cloud: Scripted, tmp_path: Path) -> Office:
    return Office(cloud, tmp_path)


@pytest.fixture(scope="module")
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn() as found:
        yield found


def sheet_row(number: int, **values: Any) -> bridge.RowData:
    return bridge.RowData(**{**row(number), "status": "否", "video_status": "否", **values})


def plan(office: Office, rows: Sequence[bridge.RowData], **settings: Any) -> bridge.RecoveryPlan:
    return asyncio.run(office.main_py(**settings).recovery.plan({IMAGE: rows}))


def by_row(found: bridge.RecoveryPlan) -> dict[int | None, str]:
    return {task.row_number: task.action.value for task in found.tasks}


def batch(office: Office, cloud: Scripted, rows: Sequence[bridge.RowData], **settings: Any) -> int:
    """A real one, as the plan sees it: recover, then render what is to be done; how many were paid for."""
    before = len(cloud.jobs)
    run = office.main_py(**settings)

    async def story() -> None:
        await run.recovery.check_and_recover_tasks()
        for found in run.recovery.rows_to_do(rows, IMAGE):
            task_id = run.db.add_workflow_task(found, IMAGE)
            try:
                await run.recovery.submit(task_id, cloud.client_workflow(found.row_number))
            except bridge.RenderLimitError:
                return

    with run._ending():
        asyncio.run(story())
    return len(cloud.jobs) - before


def every_kind_of_row(office: Office, cloud: Scripted) -> list[bridge.RowData]:
    office.main_py().enters(2)
    cloud.finish()
    office.main_py().enters(3)
    cloud.answer_lost(accepted=True)
    office.main_py().enters(4)
    cloud.down()
    office.main_py().enters(5)
    cloud.up()
    lost = office.main_py()
    lost.db.release_task(lost.db.add_workflow_task(row(6), IMAGE))
    cancelled = office.main_py().enters(7)
    office.wish_away(cancelled)
    return [sheet_row(number) for number in range(2, 10)]


def test_it_tells_what_the_batch_does_and_changes_nothing(office: Office, cloud: Scripted) -> None:
    rows = every_kind_of_row(office, cloud)
    before, jobs = contents(office.folder), len(cloud.jobs)
    found = plan(office, rows)
    assert (contents(office.folder), len(cloud.jobs)) == (before, jobs)
    assert by_row(found) == {
        2: "collect",
        3: "follow",
        4: "ask",
        5: "requeue",
        6: "render",  # after its task has failed as lost
        7: "render",
        8: "render",
        9: "render",
    }
    assert found.renders == 5
    assert {task.row_number: str(task.again) for task in found.tasks if task.again} == {
        7: "the task that ends was sent"
    }
    assert batch(office, cloud, rows) == 5


@pytest.mark.parametrize("writes_failed", [None, "true", "false"])
def test_what_fails_is_rendered_again_only_where_its_cell_does_not_say_so(
    office: Office, cloud: Scripted, feishu: FeishuStandIn, writes_failed: str | None
) -> None:
    """`None`: there is no sheet, and the program alone knows."""
    office.main_py().enters(2)
    cloud.fail("the lamp broke")
    run = office.main_py()
    sheet = {**feishu.environment(), "WFRECOVERY_WRITE_FAILED": writes_failed or ""} if writes_failed else {}
    settings = bridge.load_settings(environ=sheet)
    run.recovery = bridge.TaskRecoveryManager(run.db, cloud.client(), settings=settings)
    found = asyncio.run(run.recovery.plan({IMAGE: [sheet_row(2)]}))
    actions = ["fail"] if writes_failed == "true" else ["fail", "render"]
    assert [task.action.value for task in found.tasks] == actions


def test_an_empty_table_is_not_even_made(office: Office, tmp_path: Path) -> None:
    office.folder = tmp_path / "none"
    found = plan(office, [sheet_row(2)])
    assert (found.renders, found.again, by_row(found)) == (1, 0, {2: "render"})
    assert not office.folder.exists()
    nothing = plan(office, [])
    assert nothing.lines("en") == ["nothing to render: no task is unfinished, and no row is open"]
    assert "没有要生成的" in nothing.lines("zh")[0]


def test_what_a_former_task_has_sent_is_told_as_again(office: Office, cloud: Scripted) -> None:
    office.main_py().enters(2)
    cloud.fail("the lamp broke")
    office.main_py().recovers()
    cloud.refuse()
    office.main_py().enters(3)
    rows = [sheet_row(2, status="失败"), sheet_row(3, status="失败"), sheet_row(4, status="已完成"), sheet_row(5)]
    found = plan(office, rows)
    again = {task.row_number: str(task.again) for task in found.tasks if task.again}
    assert again == {2: "a former task was sent, and failed", 4: "its cell says 已完成"}
    assert (found.renders, found.again) == (4, 2)
    assert "1 × a former task was sent, and failed" in str(found.summary)


def test_a_result_that_has_not_reached_the_sheet_keeps_its_row(office: Office, cloud: Scripted) -> None:
    done = [office.main_py().enters(number) for number in (2, 3)]
    cloud.finish()
    office.main_py().recovers()
    db = bridge.DatabaseManager(office.folder)
    db.table.update(done[1], lambda task: task.with_outbox(state=bridge.FeishuState.BLOCKED))
    rows = [sheet_row(2), sheet_row(3), sheet_row(4)]
    found = plan(office, rows)
    assert by_row(found) == {2: "leave", 3: "leave", 4: "render"}
    waits, blocked, _ = found.tasks
    assert "waits to be written into the sheet" in waits.reason.en
    assert "--feishu blocked" in blocked.reason.en
    assert batch(office, cloud, rows) == 1


def test_what_another_program_is_at_work_on_is_its_own(office: Office) -> None:
    other = office.main_py()
    other.db.add_workflow_task(row(2), IMAGE)
    (task,) = plan(office, [sheet_row(2)]).tasks
    assert (task.action, "at work on it" in task.reason.en) == (bridge.Action.LEAVE, True)


def test_it_keeps_to_the_limit_of_a_run(office: Office, cloud: Scripted) -> None:
    cloud.down()
    office.main_py().enters(2)
    cloud.up()
    rows = [sheet_row(number) for number in range(2, 6)]
    found = plan(office, rows, max_renders="2")
    assert by_row(found) == {2: "requeue", 3: "render", 4: "leave", 5: "leave"}
    assert (found.renders, found.limit) == (2, 2)
    assert "WFRECOVERY_MAX_RENDERS=2" in found.lines("en")[-1]
    assert batch(office, cloud, rows, max_renders="2") == 2


def test_two_workflows_are_counted_together_and_the_recovery_once(office: Office, cloud: Scripted) -> None:
    cloud.down()
    office.main_py().enters(2)
    cloud.up()
    run = office.main_py()
    rows = [sheet_row(2), sheet_row(3)]
    found = asyncio.run(run.recovery.plan({IMAGE: rows, bridge.WorkflowType.IMAGE_TO_VIDEO: rows}))
    assert [(task.workflow_type, task.row_number) for task in found.tasks] == [
        (IMAGE, 2),
        (IMAGE, 3),
        (FILM, 2),
        (FILM, 3),
    ]
    assert found.renders == 4


def test_rows_that_nothing_tells_apart_are_not_paid_for(
    office: Office, cloud: Scripted, feishu: FeishuStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is a sheet. Rows that look the same in everything may have one result each."""
    unreadable = {"type": "embed-image"}
    same = {**row(2), "status": "否", "product_image": {**unreadable, "fileToken": "a"}}
    rows = [
        bridge.RowData(**{**same, "row_number": 2}),
        bridge.RowData(**{**same, "row_number": 3}),
        sheet_row(4, product_name="x", product_image=unreadable),
        sheet_row(5, product_name="x", product_image={**unreadable, "fileToken": "b"}, prompt="row 4"),
        sheet_row(6, product_name="", model_name=""),
    ]
    run = office.main_py()
    settings = bridge.load_settings(environ=feishu.environment())
    run.recovery = bridge.TaskRecoveryManager(run.db, cloud.client(), settings=settings)
    found = asyncio.run(run.recovery.plan({IMAGE: rows}))
    assert by_row(found) == {2: "render", 3: "render", 4: "leave", 5: "render", 6: "leave"}
    reasons = {task.row_number: task.reason for task in found.tasks}
    assert "several rows (4, 5)" in reasons[4].en
    assert "无法区分" in reasons[4].zh
    assert "no product and no model" in reasons[6].en
    with caplog.at_level(logging.INFO, "wfrecovery"):
        assert [one.row_number for one in run.recovery.rows_to_do(rows, IMAGE)] == [2, 3, 5]
    assert "图片合成: 3 to be rendered, 0 of them perhaps for a second time" in caplog.text
    assert "row 4 is left out: 'x'" in caplog.text
    assert by_row(plan(office, rows)) == dict.fromkeys(range(2, 7), "render")


def test_a_damaged_record_stays_where_it_is(office: Office, cloud: Scripted) -> None:
    task_id = office.main_py().enters(2)
    (record,) = (office.folder / "wfrecovery" / "active").glob(f"{task_id}*")
    record.write_text("{")
    before = contents(office.folder)
    assert by_row(plan(office, [sheet_row(3)])) == {3: "render"}
    assert contents(office.folder) == before


@pytest.mark.parametrize(
    "form", [dict, lambda values: SimpleNamespace(**values)], ids=["mappings", "their own objects"]
)
def test_rows_in_a_team_s_own_form_are_planned_and_left_to_do(form: Any, office: Office, cloud: Scripted) -> None:
    rows = [form({**row(number), "status": "否"}) for number in (2, 3)]
    run = office.main_py()
    run.enters(2)
    assert run.recovery.rows_to_do(rows, IMAGE) == rows[1:]
    found = asyncio.run(office.main_py().recovery.plan({IMAGE: rows}))
    assert (by_row(found)[3], found.renders) == ("render", 1)


@pytest.mark.parametrize("ended", [False, True])
def test_a_row_of_a_newer_program_is_not_paid_for_twice(*, ended: bool, office: Office, cloud: Scripted) -> None:
    """A team goes back to this version while a newer one's tasks are open. Rows have moved since; what the newer one
    has finished and not delivered waits for it as well."""
    task_id = office.main_py().enters(4)
    jobs = len(cloud.jobs)
    path = office.folder / "wfrecovery" / "active" / f"{task_id}.json"
    record = json.loads(path.read_text("utf-8"))
    record.update(schema=3, of_tomorrow={"any": ["thing"]})
    if ended:
        record["status"] = "已完成"
        record["metadata"].update(stage="finished", feishu={"state": "pending"})
    path.write_text(json.dumps(record, ensure_ascii=False), "utf-8")
    before = path.read_bytes()
    moved = [dataclasses.replace(sheet_row(4), row_number=3), dataclasses.replace(sheet_row(3), row_number=4)]
    found = {task.row_number: task for task in plan(office, moved).tasks}
    assert (found[3].action.value, found[4].action.value) == ("leave", "render")
    assert task_id in found[3].reason.en
    assert "newer wfrecovery" in found[3].reason.en
    main_py = office.main_py()
    assert [row.row_number for row in main_py.recovery.rows_to_do(moved, IMAGE)] == [4]
    with pytest.raises(bridge.TaskError, match=f"{task_id}.*newer wfrecovery"):
        main_py.db.add_workflow_task(moved[0], IMAGE)
    assert (path.read_bytes(), len(cloud.jobs)) == (before, jobs)
