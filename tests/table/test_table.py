"""The task table when nothing goes wrong: what is entered, changed, found, counted and moved."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from table_support import DAY, GRAPH, MONTH, add_attempt, finish, img, job, job_id, pushed, table_files

from wfrecovery.bridge.engines.comfyui import row_tag
from wfrecovery.bridge.table import database as workflow_database
from wfrecovery.bridge.table.changes import wished_away
from wfrecovery.bridge.table.database import (
    OldFileLockError,
    TableBusyError,
    WorkflowDatabase,
    check_filelock,
)
from wfrecovery.bridge.table.index import TaskIndex
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.names import UnknownTaskError
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import (
    ENTERED_FROM,
    SCHEMA,
    RecordError,
    RevisionConflictError,
    Stage,
    TaskError,
    TransitionError,
    WorkflowStatus,
    WorkflowType,
)
from wfrecovery.bridge.table.rows import RowData
from wfrecovery.bridge.table.values import FeishuState, Result

IMAGE, VIDEO = WorkflowType.IMAGE_COMPOSITION, WorkflowType.IMAGE_TO_VIDEO
NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


@pytest.fixture
def db(tmp_path: Path) -> DatabaseManager:
    return DatabaseManager(tmp_path)


@pytest.fixture
def table(db: DatabaseManager) -> WorkflowDatabase:
    return db.table


def row(number: int = 67, **fields: object) -> RowData:
    return RowData(**{"row_number": number, "product_name": "产品A", "model_name": "模特B", "prompt": "海边", **fields})


def deliver(db: DatabaseManager, task_id: str) -> None:
    db.table.update(task_id, pushed)


# ------------------------------------------------------------------ records


def test_a_record_has_the_fields_of_the_specification_in_their_order(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE, "0a4e6c3e")
    data = json.loads((db.table.folder / "active" / f"{task_id}.json").read_text("utf-8"))
    assert list(data) == [
        "schema",
        "revision",
        "task_id",
        "row_number",
        "product_name",
        "model_name",
        "workflow_type",
        "status",
        "created_at",
        "updated_at",
        "comfyui_task_id",
        "output_files",
        "error_message",
        "metadata",
    ]
    assert (data["schema"], data["revision"]) == (2, 1)
    assert (data["row_number"], data["product_name"], data["model_name"]) == (67, "产品A", "模特B")
    assert (data["workflow_type"], data["status"]) == ("图片合成", "在处理中")
    assert (data["comfyui_task_id"], data["output_files"], data["error_message"]) == ("0a4e6c3e", [], None)
    assert data["metadata"]["attempts"] == 0
    assert data["metadata"]["processing_start_time"] is None
    assert data["metadata"]["feishu"] == {"state": "pending", "attempts": 0, "last_error": None, "pushed_at": None}
    assert data["metadata"]["feishu_row_data"]["prompt"] == "海边"
    for name in ("created_at", "updated_at"):
        assert datetime.fromisoformat(data[name]).tzinfo is not None
    assert data == db.get_task(task_id)


def test_records_are_readable_by_a_person(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    text = (db.table.folder / "active" / f"{task_id}.json").read_text("utf-8")
    assert "产品A" in text
    assert len(text.splitlines()) > 14


def test_each_write_raises_the_revision_by_one(table: WorkflowDatabase) -> None:
    table.create(job(1))
    assert [table.update(job_id(1), add_attempt).revision for _ in range(3)] == [2, 3, 4]


def test_an_update_that_changes_nothing_writes_nothing(table: WorkflowDatabase, tmp_path: Path) -> None:
    table.create(job(1))
    before = table_files(tmp_path)
    assert table.update(job_id(1), lambda record: record).revision == 1
    assert table_files(tmp_path) == before


def test_a_broken_file_name_with_a_lone_surrogate_can_be_recorded(table: WorkflowDatabase) -> None:
    table.create(job(1, results=(Result("bad\udcff.png"),)))
    assert table.get(job_id(1)).output_files == ("bad\udcff.png",)


@pytest.mark.parametrize("wanted", Stage)
@pytest.mark.parametrize("current", Stage)
def test_stages_are_entered_only_as_the_table_of_transitions_allows(current: Stage, wanted: Stage) -> None:
    record = job(1, stage=current)
    if current in ENTERED_FROM[wanted]:
        assert record.entering(wanted).stage is wanted
    else:
        with pytest.raises(TransitionError) as caught:
            record.entering(wanted)
        assert (caught.value.current, caught.value.wanted) == (current, wanted)


def test_what_is_finished_stays_finished() -> None:
    assert not any(Stage.FINISHED in entered_from for entered_from in ENTERED_FROM.values())


# ------------------------------------------------------------------ what main.py calls


@pytest.mark.parametrize(("kind", "prefix"), [(IMAGE, "img"), ("图片合成", "img"), (VIDEO, "vid"), ("图生视频", "vid")])
def test_ids_tell_the_workflow_and_the_day(db: DatabaseManager, kind: WorkflowType | str, prefix: str) -> None:
    today = f"{datetime.now().astimezone():%Y%m%d}"
    assert db.add_workflow_task(row(1), kind) == f"{prefix}_{today}_001"
    assert db.add_workflow_task(row(2), kind) == f"{prefix}_{today}_002"


def test_a_row_may_be_a_mapping(db: DatabaseManager) -> None:
    task = db.get_task(db.add_workflow_task({"row_number": 5, "product_name": "产品C", "其他": 1}, VIDEO))
    assert task is not None
    assert (task["row_number"], task["product_name"]) == (5, "产品C")


@pytest.mark.parametrize("number", [None, 0, -1, "67", True, 1.0])
def test_a_row_without_a_number_is_refused(db: DatabaseManager, number: object) -> None:
    with pytest.raises(ValueError, match="row needs its number"):
        db.add_workflow_task({"row_number": number}, IMAGE)


def test_a_mapping_without_a_row_number_is_refused(db: DatabaseManager) -> None:
    with pytest.raises(ValueError, match="row needs its number"):
        db.add_workflow_task({"product_name": "产品A"}, IMAGE)


def test_an_unknown_workflow_type_is_refused_and_the_known_ones_named(db: DatabaseManager) -> None:
    with pytest.raises(ValueError, match=r"图片合成.*图生视频"):
        db.add_workflow_task(row(), "图片分割")
    with pytest.raises(ValueError, match=r"图片合成.*图生视频"):
        db.get_incomplete_tasks_by_type("图片分割")


def test_a_row_being_worked_on_is_not_entered_twice(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.add_workflow_task(row(prompt="山上"), IMAGE) == task_id
    assert len(list(db.table.ids())) == 1
    assert db.add_workflow_task(row(), VIDEO) != task_id
    assert db.add_workflow_task(row(product_name="产品Z"), IMAGE) == task_id, "a name that was corrected"
    assert db.add_workflow_task(row(product_name="产品Z", model_name="模特Z"), IMAGE) != task_id
    assert db.add_workflow_task(row(68), IMAGE) != task_id


def test_entering_a_row_again_adds_a_missing_prompt_id_and_keeps_a_known_one(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.add_workflow_task(row(), IMAGE, "first") == task_id
    assert db.add_workflow_task(row(), IMAGE, "second") == task_id
    assert db.table.get(task_id).comfyui_task_id == "first"


def test_a_row_whose_result_waits_to_be_pushed_is_not_rendered_again(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.complete_task(task_id, ["a.png"])
    assert db.add_workflow_task(row(), IMAGE) == task_id
    deliver(db, task_id)
    assert db.add_workflow_task(row(), IMAGE) != task_id


def test_a_failed_row_may_be_entered_again(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.mark_task_failed(task_id, "no memory")
    assert db.add_workflow_task(row(), IMAGE) != task_id


def test_the_prompt_id_is_noted(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.update_task_comfyui_id(task_id, "abc") is True
    assert db.table.get(task_id).comfyui_task_id == "abc"


def test_files_are_noted_relative_to_the_output_folder_without_finishing(db: DatabaseManager, tmp_path: Path) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.update_task_with_files(task_id, [tmp_path / "img" / "a.png", "b.png", Path("img/../c.png")]) is True
    record = db.table.get(task_id)
    assert record.output_files == ("img/a.png", "b.png", "c.png")
    assert record.status is WorkflowStatus.IN_PROGRESS


@pytest.mark.parametrize("file", ["../secret.png", "/etc/passwd", "img/../../x.png"])
def test_a_file_outside_the_output_folder_is_refused(db: DatabaseManager, file: str) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    with pytest.raises(ValueError, match="not inside the output folder"):
        db.complete_task(task_id, [file])
    assert db.table.get(task_id).status is WorkflowStatus.IN_PROGRESS


def test_completing_puts_the_result_into_the_outbox_with_one_write(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.complete_task(task_id, ["a.png"]) is True
    record = db.table.get(task_id)
    assert (record.revision, record.status, record.output_files) == (2, WorkflowStatus.COMPLETED, ("a.png",))
    assert [task.task_id for task in db.unpushed()] == [task_id]
    assert db.complete_task(task_id, ["other.png"]) is True
    assert db.table.get(task_id) == record, "finishing what is finished changes nothing"


def test_completing_without_files_keeps_those_that_were_noted(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    db.update_task_with_files(task_id, ["a.png"])
    assert db.complete_task(task_id)
    assert db.table.get(task_id).output_files == ("a.png",)


def test_failing_keeps_the_first_reason(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.mark_task_failed(task_id, "out of memory") is True
    assert db.mark_task_failed(task_id, "something else") is True
    task = db.get_task(task_id)
    assert task is not None
    assert (task["status"], task["error_message"]) == ("失败", "out of memory")


def test_a_finished_task_cannot_fail_or_be_cancelled(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    db.complete_task(task_id, ["a.png"])
    assert db.mark_task_failed(task_id, "late") is False
    assert db.cancel_task(task_id, "late") is False
    assert db.table.get(task_id).stage is Stage.FINISHED


def test_a_cancelled_task_cannot_be_finished_and_pushes_nothing(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.cancel_task(task_id, "deleted by the user") is True
    assert db.complete_task(task_id, ["a.png"]) is False
    assert db.push_again(task_id) is False
    assert db.unpushed() == []
    assert (db.table.folder / "done").is_dir()
    assert db.table.get(task_id).stage is Stage.CANCELLED


def test_what_fails_when_a_person_wants_its_end_is_cancelled(db: DatabaseManager) -> None:
    """Nodes make errors of their own of an interruption, and a cloud has no word for it: the sheet hears no 失败."""
    task_id = db.add_workflow_task(row(), IMAGE)
    db.table.update(task_id, wished_away)
    assert db.mark_task_failed(task_id, "ffmpeg was stopped")
    task = db.table.get(task_id)
    assert (task.stage, task.error_message, db.unpushed()) == (Stage.CANCELLED, "cancelled by the user", [])


@pytest.mark.parametrize("state", [FeishuState.PUSHED, FeishuState.OFF, FeishuState.BLOCKED])
def test_a_result_that_comes_after_all_is_delivered_whatever_became_of_the_failure(
    db: DatabaseManager, state: FeishuState
) -> None:
    """失败 stands in the sheet already, then the rendered file is found."""
    task_id = db.add_workflow_task(row(), IMAGE)
    db.mark_task_failed(task_id, "timed out")
    db.table.update(task_id, lambda record: record.with_outbox(state=state))
    assert db.complete_task(task_id, ["a.png"])
    assert [task.task_id for task in db.unpushed()] == [task_id]


def test_a_late_result_of_a_prompt_without_a_row_is_not_pushed(db: DatabaseManager) -> None:
    db.table.create(job(1))
    db.mark_task_failed(job_id(1), "timed out")
    assert db.complete_task(job_id(1), ["a.png"])
    assert db.table.get(job_id(1)).feishu_state is FeishuState.OFF


@pytest.mark.parametrize("task_id", ["img_20261123_404", "", "../../x", "img_20261123_1", "img_20261123_001\n"])
def test_a_task_that_is_not_there_is_answered_not_raised(db: DatabaseManager, task_id: str) -> None:
    assert db.get_task(task_id) is None
    assert db.update_task_comfyui_id(task_id, "x") is False
    assert db.update_task_with_files(task_id, []) is False
    assert db.complete_task(task_id) is False
    assert db.mark_task_failed(task_id, "x") is False
    assert db.cancel_task(task_id, "x") is False
    assert db.push_again(task_id) is False
    with pytest.raises(UnknownTaskError):
        db.table.get(task_id)


def test_an_id_longer_than_any_file_name_is_no_task(db: DatabaseManager) -> None:
    assert db.get_task(f"img_{DAY}_{'1' * 300}") is None
    assert db.table.claim_id(IMAGE.value, NOON, wanted=f"img_{DAY}_{'1' * 300}") == f"img_{DAY}_001"


def test_incomplete_tasks_are_listed_oldest_first_and_by_type(db: DatabaseManager) -> None:
    images = [db.add_workflow_task(row(number), IMAGE) for number in (9, 3, 5)]
    video = db.add_workflow_task(row(1), VIDEO)
    db.complete_task(images[1], ["a.png"])
    assert [task["task_id"] for task in db.get_incomplete_tasks_by_type(IMAGE)] == [images[0], images[2]]
    assert [task["task_id"] for task in db.get_incomplete_tasks_by_type("图生视频")] == [video]
    assert {task["task_id"] for task in db.get_incomplete_tasks()} == {images[0], images[2], video}
    assert all(task["status"] == "在处理中" for task in db.get_incomplete_tasks())


# ------------------------------------------------------------------ where records lie


def test_finished_and_pushed_moves_to_the_folder_of_its_month(db: DatabaseManager) -> None:
    db.table.create(img(1))
    active, done = (db.table.folder / name / f"img_{DAY}_001.json" for name in ("active", f"done/{MONTH}"))
    db.complete_task(f"img_{DAY}_001", ["a.png"])
    assert active.exists(), "still to be pushed"
    deliver(db, f"img_{DAY}_001")
    assert done.exists()
    assert not active.exists()
    assert db.table.get(f"img_{DAY}_001").feishu_state is FeishuState.PUSHED


def test_a_prompt_without_a_row_is_done_when_it_is_finished(table: WorkflowDatabase) -> None:
    table.create(job(1))
    table.update(job_id(1), finish)
    assert list(table.active()) == []
    assert (table.folder / "done" / MONTH / f"{job_id(1)}.json").exists()


def test_a_retry_comes_back_from_done(table: WorkflowDatabase) -> None:
    table.create(job(1))
    table.update(job_id(1), lambda record: record.entering(Stage.FAILED, error_message="x"))
    assert list(table.active()) == []
    table.update(job_id(1), lambda record: record.entering(Stage.QUEUED, error_message=None))
    assert [record.stage for record in table.active()] == [Stage.QUEUED]
    assert not (table.folder / "done" / MONTH / f"{job_id(1)}.json").exists()
    table.update(job_id(1), finish)
    assert table.get(job_id(1)).status is WorkflowStatus.COMPLETED


def test_push_again_puts_a_delivered_or_blocked_result_back(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(row(), IMAGE)
    assert db.push_again(task_id) is False, "it has no result yet"
    db.complete_task(task_id, ["a.png"])
    deliver(db, task_id)
    assert db.unpushed() == []
    assert db.push_again(task_id) is True
    assert [task.task_id for task in db.unpushed()] == [task_id]
    db.table.update(task_id, lambda record: record.with_outbox(state=FeishuState.BLOCKED, last_error="row not found"))
    assert db.unpushed() == []
    assert db.put_back(task_id).outbox.last_error is None
    assert [task.task_id for task in db.unpushed()] == [task_id]


def test_there_is_nothing_to_push_without_a_row(db: DatabaseManager) -> None:
    db.table.create(job(1))
    db.complete_task(job_id(1), ["a.png"])
    assert db.push_again(job_id(1)) is False
    with pytest.raises(TaskError, match="no row"):
        db.put_back(job_id(1))


def test_graphs_are_kept_beside_the_records_and_written_once(table: WorkflowDatabase) -> None:
    table.create(job(1), GRAPH)
    assert table.graph(job_id(1)) == {"schema": SCHEMA, **GRAPH}
    table.write_graph(job_id(1), {"prompt": {}})
    assert table.graph(job_id(1)) == {"schema": SCHEMA, **GRAPH}
    table.write_graph(job_id(1), {"prompt": {}}, replace=True)
    assert table.graph(job_id(1)) == {"schema": SCHEMA, "prompt": {}}
    assert table.graph(job_id(2)) is None


def test_an_id_is_created_only_once(table: WorkflowDatabase) -> None:
    table.create(job(1))
    with pytest.raises(RecordError, match="there already"):
        table.create(job(1, product_name="other"))
    table.update(job_id(1), finish)
    with pytest.raises(RecordError, match="there already"):
        table.create(job(1, product_name="other"))
    assert table.get(job_id(1)).product_name == ""


# ------------------------------------------------------------------ ids


def test_ids_count_past_999(table: WorkflowDatabase) -> None:
    for number in (998, 999):
        table.create(job(number))
    assert [table.claim_id(None, NOON) for _ in range(2)] == [job_id(1000), job_id(1001)]
    table.create(job(1000))
    assert list(table.ids()) == [job_id(1000), job_id(999), job_id(998)]
    assert [record.task_id for record in table.active()] == [job_id(998), job_id(999), job_id(1000)]
    assert WorkflowDatabase(table.output_dir).claim_id(None, NOON) == job_id(1002)


def test_ids_are_not_used_twice_after_a_restart(table: WorkflowDatabase) -> None:
    table.create(job(1))
    table.create(job(2))
    table.update(job_id(2), finish)
    assert WorkflowDatabase(table.output_dir).claim_id(None, NOON) == job_id(3)
    assert WorkflowDatabase(table.output_dir).claim_id(None, NOON) == job_id(4), "003 is claimed, not yet created"


def test_the_id_of_a_damaged_record_is_not_given_to_another_task(table: WorkflowDatabase) -> None:
    """Its result may lie in the output folder under that id, and would be taken for the other task's."""
    table.create(job(7))
    (table.folder / "active" / f"{job_id(7)}.json").write_bytes(b"")
    assert list(table.active()) == []
    fresh = WorkflowDatabase(table.output_dir)
    assert fresh.claim_id(None, NOON) == job_id(8)
    assert fresh.claim_id(None, NOON, wanted=job_id(7)) == job_id(9)


def test_a_wanted_id_is_kept_where_it_is_free(table: WorkflowDatabase) -> None:
    assert table.claim_id(None, NOON, wanted=job_id(41)) == job_id(41)
    assert table.claim_id(None, NOON, wanted=job_id(41)) == job_id(42), "the next free one"
    table.create(job(60))
    assert table.claim_id(None, NOON, wanted=job_id(60)) != job_id(60)


@pytest.mark.parametrize("wanted", ["../x", "img_1_1", "", "job_20261123_001/../x"])
def test_a_wanted_id_of_another_form_never_becomes_a_file_name(table: WorkflowDatabase, wanted: str) -> None:
    assert table.claim_id(None, NOON, wanted=wanted) == job_id(1)


UNCOUNTED = ["999999999999", "99999999999", "20000"]


@pytest.mark.parametrize("number", UNCOUNTED)
@pytest.mark.parametrize("day", [DAY, "20261124", "20261231", "20260101"])
def test_a_wanted_id_that_nobody_has_counted_up_to_is_none(table: WorkflowDatabase, day: str, number: str) -> None:
    assert table.claim_id(None, NOON, wanted=f"job_{day}_{number}") == job_id(1)


@pytest.mark.parametrize("wanted", ["job_20261125_001", "job_29991231_001", "job_20269999_001", f"job_{DAY}_0001"])
def test_a_wanted_id_of_a_day_to_come_or_written_otherwise_is_none(table: WorkflowDatabase, wanted: str) -> None:
    assert table.claim_id(None, NOON, wanted=wanted) == job_id(1)


@pytest.mark.parametrize("wanted", ["job_20200101_731", f"job_{DAY}_850", "img_20261124_002"])
def test_a_table_whose_numbers_run_ahead_of_ours_keeps_them(table: WorkflowDatabase, wanted: str) -> None:
    table.create(job(3))
    assert table.claim_id(None, NOON, wanted=wanted) == wanted


def test_who_goes_on_counting_may_come_far(table: WorkflowDatabase) -> None:
    for number in (9_000, 18_000, 27_000):
        table.create(job(number))
    assert table.claim_id(None, NOON, wanted=job_id(27_800)) == job_id(27_800)


@pytest.mark.parametrize("number", UNCOUNTED)
def test_a_number_on_disk_that_nobody_has_counted_up_to_stops_nobody(table: WorkflowDatabase, number: str) -> None:
    """An older version has let it in: its task is one like the others."""
    table.create(job(4))
    table.create(job(int(number)))
    fresh = WorkflowDatabase(table.output_dir)
    assert [fresh.claim_id(None, NOON) for _ in range(2)] == [job_id(5), job_id(6)]
    assert fresh.get(job_id(int(number))).task_id in fresh.ids()
    assert fresh.claim_id(None, NOON, wanted=job_id(int(number))) == job_id(7)


def test_others_may_have_entered_any_number_of_tasks_since(table: WorkflowDatabase) -> None:
    first = table.claim_id(None, NOON)
    for number in range(2, 300):
        (table.folder / "ids" / job_id(number)).touch()
    assert (first, table.claim_id(None, NOON)) == (job_id(1), job_id(300))


def test_claims_are_given_back(table: WorkflowDatabase) -> None:
    first = table.claim_id(None, NOON)
    table.release_id(first)
    assert table.claim_id(None, NOON) == first
    second = table.claim_id(None, NOON)
    table.release_id(first)
    assert table.claim_id(None, NOON) not in (first, second), "a hole is not filled, and nothing is handed out twice"


def test_creating_uses_the_claim_up(table: WorkflowDatabase) -> None:
    task_id = table.claim_id(None, NOON)
    table.create(dataclasses.replace(job(1), task_id=task_id))
    assert list((table.folder / "ids").iterdir()) == []


def test_stale_claims_are_swept_and_those_of_today_kept(table: WorkflowDatabase) -> None:
    today = table.claim_id(None)
    table.claim_id(None, NOON.replace(year=2025))
    table.sweep()
    assert [path.name for path in (table.folder / "ids").iterdir()] == [today]


def test_ids_come_newest_first_over_months_and_kinds(table: WorkflowDatabase) -> None:
    wanted = ["vid_20270101_001", f"job_{DAY}_003", f"img_{DAY}_002", f"job_{DAY}_001", "img_20261031_009"]
    for task_id in reversed(wanted):
        table.create(dataclasses.replace(job(1), task_id=task_id))
    for task_id in wanted[1::2]:
        table.update(task_id, finish)
    assert list(table.ids()) == wanted


# ------------------------------------------------------------------ looking for tasks


def test_counts_follow_every_change(db: DatabaseManager) -> None:
    one, two, three = (db.add_workflow_task(row(number), IMAGE) for number in (1, 2, 3))
    db.table.create(job(1))
    zero = dict.fromkeys(("pending", "pushed", "blocked", "off"), 0)
    assert db.counts() == ({"在处理中": 4, "已完成": 0, "失败": 0}, zero)
    db.complete_task(one, ["a.png"])
    db.mark_task_failed(two, "x")
    db.cancel_task(three, "x")
    db.complete_task(job_id(1), ["b.png"])
    assert db.counts() == ({"在处理中": 0, "已完成": 2, "失败": 2}, {**zero, "pending": 2, "off": 2})
    deliver(db, one)
    assert db.counts() == ({"在处理中": 0, "已完成": 2, "失败": 2}, {**zero, "pending": 1, "pushed": 1, "off": 2})
    db.push_again(one)
    assert db.counts() == ({"在处理中": 0, "已完成": 2, "失败": 2}, {**zero, "pending": 2, "off": 2})


def test_the_table_has_an_id_that_is_random_and_stays(table: WorkflowDatabase, tmp_path: Path) -> None:
    assert table.table_id is None
    assert not table.folder.exists()  # asking writes nothing
    first = table.keep_table_id()
    assert first == table.keep_table_id() == table.table_id == WorkflowDatabase(table.output_dir).keep_table_id()
    assert WorkflowDatabase(tmp_path / "another").keep_table_id() != first


def test_a_deleted_table_id_is_made_again_by_who_knew_it(table: WorkflowDatabase) -> None:
    first = table.keep_table_id()
    (table.folder / "table_id").unlink()
    assert table.table_id is None
    assert table.keep_table_id() == first
    (table.folder / "table_id").unlink()
    stranger = WorkflowDatabase(table.output_dir).keep_table_id()
    assert stranger != first
    assert table.keep_table_id() == stranger  # two who work in one table never differ


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_what_is_no_table_id_is_none(table: WorkflowDatabase, content: bytes) -> None:
    table.keep_table_id()
    (table.folder / "table_id").write_bytes(content)
    assert table.table_id is None
    assert WorkflowDatabase(table.output_dir).keep_table_id() == table.table_id


def test_who_shares_a_table_is_told_by_its_id(table: WorkflowDatabase) -> None:
    assert not table.is_shared_with({"table_id": None})
    table_id = table.keep_table_id()
    assert table.is_shared_with({"table_id": table_id})
    for status in (None, {}, {"table_id": None}, {"table_id": "another"}):
        assert not table.is_shared_with(status)


# ------------------------------------------------------------------ who may write


def test_a_write_behind_the_locks_back_is_noticed_and_not_overwritten(table: WorkflowDatabase) -> None:
    table.create(job(1))
    path = table.folder / "active" / f"{job_id(1)}.json"

    def while_somebody_else_writes(record):
        data = {**record_to_json(record), "revision": 9, "product_name": "theirs"}
        path.write_text(json.dumps(data), "utf-8")
        return add_attempt(record)

    with pytest.raises(RevisionConflictError) as caught:
        table.update(job_id(1), while_somebody_else_writes)
    assert (caught.value.expected, caught.value.found) == (1, 9)
    assert table.get(job_id(1)).product_name == "theirs"
    assert table.update(job_id(1), add_attempt).revision == 10


def test_a_lock_that_is_held_too_long_is_said_to_be(tmp_path: Path) -> None:
    holder, other = WorkflowDatabase(tmp_path), WorkflowDatabase(tmp_path, lock_timeout=0)
    with holder.locked(), pytest.raises(TableBusyError, match=r"table\.lock"):
        other.create(job(1))
    other.create(job(1))


def test_a_change_that_raises_writes_nothing_and_frees_the_lock(table: WorkflowDatabase, tmp_path: Path) -> None:
    table.create(job(1))
    before = table_files(tmp_path)
    with pytest.raises(ZeroDivisionError):
        table.update(job_id(1), lambda record: 1 / 0)
    assert table_files(tmp_path) == before
    WorkflowDatabase(tmp_path, lock_timeout=0).update(job_id(1), add_attempt)


@pytest.mark.parametrize("old", ["3.32.6", "3.29.5", "3.13.1", "3.32", "2.0.0"])
def test_an_older_filelock_is_refused_with_what_to_install(old: str) -> None:
    with pytest.raises(OldFileLockError, match=r"filelock>=3\.32\.7"):
        check_filelock(old)


@pytest.mark.parametrize("new", ["3.32.7", "3.33", "4.0.0", "4.2.12", "4.1rc1"])
def test_a_newer_filelock_is_accepted(new: str) -> None:
    check_filelock(new)


def test_the_table_does_not_open_with_an_older_filelock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_database, "version", lambda name: "3.29.4")
    with pytest.raises(OldFileLockError):
        WorkflowDatabase(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_polled_every_few_milliseconds(table: WorkflowDatabase) -> None:
    assert table._lock.poll_interval <= 0.01


def test_opening_a_table_writes_nothing(tmp_path: Path) -> None:
    table = WorkflowDatabase(tmp_path / "output")
    entries = TaskIndex(table).entries()
    assert (list(table.active()), list(table.ids()), table.corrupt(), entries) == ([], [], [], ())
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ mending


def test_sweeping_an_orderly_table_changes_nothing(table: WorkflowDatabase, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        table.create(job(number), GRAPH)
    table.update(job_id(2), finish)
    before = table_files(tmp_path)
    table.sweep()
    assert table_files(tmp_path) == before


def test_sweeping_finishes_what_a_crash_left_half_done(table: WorkflowDatabase, tmp_path: Path) -> None:
    table.create(job(1), GRAPH)
    table.create(job(2))
    table.update(job_id(2), finish)
    settled = (table.folder / "done" / MONTH / f"{job_id(2)}.json").read_bytes()
    (table.folder / "active" / f"{job_id(2)}.json").write_bytes(settled)
    (table.folder / "active" / f"{job_id(3)}.json").write_bytes(settled.replace(b"_002", b"_003"))
    (table.folder / "graphs" / f"{job_id(8)}.json").write_bytes(b"{}")
    (table.folder / "corrupt").mkdir()
    for place in ("active", "graphs", f"done/{MONTH}", "corrupt", "."):
        (table.folder / place / ".x.json.1-0.tmp").write_bytes(b"{")
    assert table.corrupt() == [], "a temp file is no damaged record"
    table.sweep()
    assert sorted(table_files(tmp_path)) == [
        f"active/{job_id(1)}.json",
        f"done/{MONTH}/{job_id(2)}.json",
        f"done/{MONTH}/{job_id(3)}.json",
        f"graphs/{job_id(1)}.json",
    ]


def test_the_number_of_a_row_is_the_one_of_the_newest_reading(db: DatabaseManager) -> None:
    """Somebody has inserted a row above; what stands at the old number now is another product of the same model."""
    first = db.add_workflow_task(RowData(2, product_name="甲", model_name="模特", prompt="红"), IMAGE)
    moved = RowData(3, product_name="甲", model_name="模特", prompt="红")
    new = RowData(2, product_name="乙", model_name="模特", prompt="红")
    assert db.rows_without_task([new, moved], IMAGE) == [new]
    second = db.add_workflow_task(new, IMAGE)
    assert second != first
    assert db.table.get(second).product_name == "乙"


# ------------------------------------------------------------------ the row as it was


def written_row(db: DatabaseManager, task_id: str) -> dict[str, Any]:
    data = json.loads((db.table.folder / "active" / f"{task_id}.json").read_text("utf-8"))
    found: dict[str, Any] = data["metadata"]["feishu_row_data"]
    return found


def read_row(**cells: Any) -> RowData:
    every = {"产品名": "产品A", "模特名": "模特B", "提示词": "海边", **cells}
    return RowData(67, prompt="海边", product_name="产品A", model_name="模特B", status="否", original_data=every)


def test_the_whole_row_is_kept_as_it_was_read(db: DatabaseManager) -> None:
    picture = {"type": "embed-image", "fileToken": "boxcn7"}
    rich = [{"type": "text", "text": "小"}, {"type": "text", "text": "心"}]
    cells = {"产品图": picture, "备注": rich, "价格": 12.5, "负责人": None, "视频提示词": "转一圈"}
    row_data = written_row(db, db.add_workflow_task(read_row(**cells), IMAGE))
    assert row_data["original_data"] == {"产品名": "产品A", "模特名": "模特B", "提示词": "海边", **cells}
    assert (row_data["row_number"], row_data["status"], row_data["composite_image"]) == (67, "否", None)


def test_what_was_not_read_is_not_said_to_be_the_row(db: DatabaseManager) -> None:
    assert "original_data" not in written_row(db, db.add_workflow_task(row(), IMAGE))


def test_a_column_of_secrets_is_not_kept(db: DatabaseManager) -> None:
    cells = {
        "API Key": "sk-abcdefghijklmnop",
        "密码": "hunter22",
        "账号": {"api_key": "sk-ponmlkjihgfedcba", "name": "a"},
    }
    row_data = written_row(db, db.add_workflow_task(read_row(**cells), IMAGE))
    assert row_data["original_data"]["账号"] == {"name": "a"}
    text = json.dumps(row_data, ensure_ascii=False)
    assert not any(secret in text for secret in ("sk-abcdefghijklmnop", "hunter22", "sk-ponmlkjihgfedcba"))


def test_a_row_of_any_size_and_kind_costs_a_record_little(db: DatabaseManager) -> None:
    deep: Any = "x"
    for _ in range(90):
        deep = [deep]
    cells = {"日期": datetime(2026, 11, 28, tzinfo=timezone.utc), "字节": b"\0", "深": deep, "长": "红" * 50_000}
    many = {f"列{number}": "红" * 1000 for number in range(40)}
    task_id = db.add_workflow_task(read_row(**cells, **many), IMAGE)
    row_data = written_row(db, task_id)
    kept = row_data["original_data"]
    assert kept["日期"] == "2026-11-28 00:00:00+00:00"
    assert kept["长"] == "红" * 1000
    assert (kept["列0"], "列39" in kept) == ("红" * 1000, False)
    assert "列39" in kept["left_out"]
    assert len((db.table.folder / "active" / f"{task_id}.json").read_bytes()) < 40_000
    assert (row_data["prompt"], row_data["status"]) == ("海边", "否")
    assert db.get_task(task_id) is not None


def test_the_cells_stay_here_when_a_prompt_is_sent(db: DatabaseManager) -> None:
    task_id = db.add_workflow_task(read_row(备注="小心"), IMAGE)
    told = row_tag(db.get_task(task_id) or {})
    assert told["feishu_row_data"]["status"] == "否"
    assert "小心" not in json.dumps(told, ensure_ascii=False)
