"""Who delivers stands in a record: named once, and changed only where one declines, is gone, or a person says so."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from table_support import img

from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.bridge.table.changes import cancelled, finished
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.publishers import (
    Naming,
    addressed,
    back_in_outbox,
    delivered_here,
    may_deliver,
    named,
    taken_from_other,
)
from wfrecovery.bridge.table.records import Stage, TaskError, TaskRecord
from wfrecovery.bridge.table.rows import RowData
from wfrecovery.bridge.table.values import FeishuState, Outbox

OURS, THEIRS, HERE, THERE = "ours", "theirs", "this document", "another one"


def ended(state: FeishuState = FeishuState.PENDING, **fields: Any) -> TaskRecord:
    return img(2, stage=Stage.FINISHED, outbox=Outbox(state), **fields)


def test_who_is_named_stays_named() -> None:
    task = named(Naming(OURS, HERE, THEIRS), img(2))
    assert (task.publisher, task.document, task.twin) == (OURS, HERE, THEIRS)
    assert named(Naming(THEIRS, THERE), task) == task


def test_where_nobody_is_named_the_document_is_known_all_the_same() -> None:
    task = named(Naming(None, HERE), img(2))
    assert (task.publisher, task.document) == (None, HERE)
    assert named(Naming(OURS, THERE), task).document == HERE


@pytest.mark.parametrize("publisher", [None, OURS, THEIRS])
@pytest.mark.parametrize("document", [None, HERE, THERE])
def test_a_table_delivers_what_names_it_and_its_document_or_none(publisher: str | None, document: str | None) -> None:
    task = ended(publisher=publisher, document=document)
    assert may_deliver(task, OURS, HERE) is (publisher != THEIRS and document != THERE)


@pytest.mark.parametrize("set_here", [HERE, None])
def test_the_plugin_leaves_what_is_not_its_own_with_the_reason(set_here: str | None) -> None:
    cases = {
        (None, None, None): None,
        (OURS, set_here, THEIRS): None,
        (OURS, THERE, None): None,  # who has sent it works in this table: it waits for him
        (THEIRS, HERE, THEIRS): THEIRS,
        (OURS, THERE, THEIRS): THEIRS,
    }
    for (publisher, document, twin), left_to in cases.items():
        task = addressed(img(2, publisher=publisher, document=document, twin=twin), OURS, set_here)
        assert (task.outbox.by, task.outbox.declined) == (left_to, left_to is not None)
        assert task.feishu_state is (FeishuState.OFF if left_to else FeishuState.PENDING)
        assert task.publisher == (left_to or publisher)
        assert bool(task.outbox.last_error and task.outbox.last_error_zh) is (left_to is not None)


def test_a_prompt_without_a_row_is_delivered_by_nobody() -> None:
    task = dataclasses.replace(img(2, publisher=THEIRS), row_number=None)
    assert addressed(task, OURS, HERE) == task


def test_what_is_left_to_another_table_stays_that_when_it_ends_after_all() -> None:
    """It failed, then its result was found."""
    left = addressed(img(2, stage=Stage.FAILED, publisher=THEIRS), OURS, HERE)
    assert finished(left, ()).feishu_state is FeishuState.OFF
    assert finished(img(2, stage=Stage.FAILED), ()).feishu_state is FeishuState.PENDING


def test_what_was_superseded_or_cancelled_is_left_to_nobody() -> None:
    assert not Outbox(FeishuState.OFF, superseded_by="img_20261123_002").declined
    assert not Outbox(FeishuState.OFF, by=THEIRS, superseded_by="img_20261123_002").declined
    assert not Outbox(FeishuState.PUSHED, by=THEIRS).declined


def test_taking_over_notes_who_may_have_delivered_it() -> None:
    task = taken_from_other(OURS, ended(publisher=THEIRS, document=HERE))
    assert (task.publisher, task.twin, task.outbox.by, task.document) == (OURS, THEIRS, THEIRS, HERE)
    for state in (FeishuState.PUSHED, FeishuState.OFF, FeishuState.BLOCKED):
        task = ended(state, publisher=THEIRS)
        assert taken_from_other(OURS, task) == task
    running = img(2, publisher=THEIRS)
    assert taken_from_other(OURS, running) == running


@pytest.mark.parametrize("state", [FeishuState.OFF, FeishuState.PENDING, FeishuState.BLOCKED])
def test_who_pushes_a_task_by_its_name_makes_this_table_the_publisher(state: FeishuState) -> None:
    task = delivered_here(OURS, HERE, ended(state, publisher=THEIRS, document=HERE))
    assert (task.publisher, task.outbox.by, task.feishu_state) == (OURS, THEIRS, FeishuState.PENDING)
    assert task.outbox.asked_at is None, "it may be there already"


def test_who_pushes_many_pushes_what_is_this_tables() -> None:
    with pytest.raises(TaskError, match=r"main\.py delivers it.*wfrecovery push --local"):
        back_in_outbox(OURS, ended(FeishuState.OFF, publisher=THEIRS))
    task = back_in_outbox(OURS, ended(FeishuState.BLOCKED, publisher=OURS, twin=THEIRS, document=THERE))
    assert (task.feishu_state, task.document) == (FeishuState.PENDING, THERE)
    assert task.outbox.asked_at


def test_a_push_changes_the_document_of_what_waited_for_another_one_alone() -> None:
    for state, goes_to in (
        (FeishuState.PENDING, HERE),
        (FeishuState.OFF, HERE),
        (FeishuState.BLOCKED, THERE),
        (FeishuState.PUSHED, THERE),
    ):
        assert delivered_here(OURS, HERE, ended(state, publisher=OURS, document=THERE)).document == goes_to
    assert delivered_here(OURS, HERE, ended()).document is None


def test_a_push_of_what_names_nobody_is_what_it_was() -> None:
    task = ended(FeishuState.BLOCKED)
    for push in (partial(delivered_here, OURS, HERE), partial(back_in_outbox, OURS)):
        again = push(task)
        assert again.outbox.asked_at is not None
        assert again.with_outbox(asked_at=None) == ended().with_outbox(order=0)


def test_what_has_no_result_cannot_be_pushed() -> None:
    for push in (lambda task: delivered_here(OURS, HERE, task), lambda task: back_in_outbox(OURS, task)):
        for task in (img(2), cancelled(img(2), "no"), dataclasses.replace(ended(), row_number=None)):
            with pytest.raises(TaskError):
                push(task)


def test_what_a_row_showed_is_kept_where_it_was_read(tmp_path: Path) -> None:
    db = DatabaseManager(tmp_path)
    typed = db.add_workflow_task({"row_number": 2, "product_name": "a"}, "图片合成")
    assert "composite_image" not in db.table.get(typed).row_data
    cell = {"type": "embed-image", "fileToken": "boxcn1", "link": "https://example.com/secret"}
    for number, shown in ((3, cell), (4, None)):
        row = RowData(
            number,
            product_name="a",
            composite_image=shown,
            status="否",
            video_status="已完成",
            original_data={"产品名": "a"},
        )
        data = db.table.get(db.add_workflow_task(row, "图片合成")).row_data
        assert data["composite_image"] == (shown and "boxcn1")
        assert (data["status"], data["video_status"]) == ("否", "已完成")
        assert "secret" not in str(data)


# ------------------------------------------------------------------ the document


def settings(**changes: str) -> Settings:
    environ = {
        "FEISHU_APP_ID": "cli_a",
        "FEISHU_APP_SECRET": "secret",
        "FEISHU_SPREADSHEET_TOKEN": "shtcnABCDEFGH",
        "FEISHU_SHEET_NAME": "商品表",
    }
    return load_settings(environ={**environ, **changes})


def test_a_document_is_known_by_a_digest_that_shows_no_token() -> None:
    document = settings().document
    assert document is not None
    assert len(document) == 16
    assert "shtcn" not in document
    assert document == settings(FEISHU_APP_ID="another", FEISHU_APP_SECRET="another").document
    same = {
        "FEISHU_SPREADSHEET_TOKEN": "https://team.feishu.cn/sheets/shtcnABCDEFGH?sheet=x",
        "FEISHU_DOMAIN": "https://OPEN.feishu.cn/",
    }
    assert document == settings(**same).document
    for name, value in (
        ("FEISHU_SPREADSHEET_TOKEN", "shtcnABCDEFGX"),
        ("FEISHU_SHEET_NAME", "另一张"),
        ("FEISHU_DOMAIN", "https://open.larksuite.com"),
    ):
        assert settings(**{name: value}).document not in (None, document)


def test_without_settings_there_is_no_document() -> None:
    assert Settings().document is None
    assert dataclasses.replace(settings(), feishu_app_secret="").document is None
