"""The table of decisions, line by line."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from wfrecovery.bridge.engines.history import (
    ABSENT,
    UNKNOWN,
    Place,
    Sighting,
)
from wfrecovery.bridge.recovery.decisions import MOST_CUT_OFF, Action, Decision, decide
from wfrecovery.bridge.recovery.following import gone_with_power
from wfrecovery.bridge.settings import MAX_ATTEMPTS, LostPrompts
from wfrecovery.bridge.table.changes import counted_anew, start_settled, started
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.values import QueuePlace
from wfrecovery.bridge.wording import Wording

ROW_TASK = TaskRecord("img_20261123_001", row_number=67, product_name="产品A", model_name="模特B")
OTHER_TASK = TaskRecord("job_20261123_001")


def attempted(task: TaskRecord, attempts: int) -> TaskRecord:
    return dataclasses.replace(task, attempts=attempts)


# ------------------------------------------------------------------ the table


@pytest.mark.parametrize(
    ("place", "action"),
    [
        (Place.UNKNOWN, Action.LEAVE),
        (Place.WAITING, Action.FOLLOW),
        (Place.RUNNING, Action.FOLLOW),
        (Place.ASKING, Action.FOLLOW),
        (Place.SUCCEEDED, Action.COLLECT),
        (Place.FAILED, Action.FAIL),
        (Place.INTERRUPTED, Action.CANCEL),
    ],
)
def test_what_comfyui_says_decides_whatever_else_is_known(place: Place, action: Action) -> None:
    for task, attempts, on_disk, has_graph, can_queue, lost in itertools.product(
        (ROW_TASK, OTHER_TASK), (0, 99), (True, False), (True, False), (True, False), LostPrompts
    ):
        decision = decide(
            attempted(task, attempts),
            Sighting(place),
            on_disk=on_disk,
            has_graph=has_graph,
            can_queue=can_queue,
            lost_prompts=lost,
        )
        assert decision.action is action
        assert decision.reason


def test_the_nodes_own_message_is_the_reason_of_a_failure() -> None:
    assert decide(
        ROW_TASK,
        Sighting(Place.FAILED, message=Wording("KSampler: boom", "KSampler: boom")),
        on_disk=False,
        has_graph=True,
    ).reason.en == ("KSampler: boom")


@pytest.mark.parametrize("attempts", [0, 2, 3, 50])
@pytest.mark.parametrize("has_graph", [True, False])
def test_a_whole_result_on_disk_is_adopted_whatever_the_attempts(attempts: int, has_graph: bool) -> None:
    assert decide(attempted(ROW_TASK, attempts), ABSENT, on_disk=True, has_graph=has_graph).action is Action.ADOPT


def test_a_lost_row_is_queued_again() -> None:
    for lost in LostPrompts:
        decision = decide(ROW_TASK, ABSENT, on_disk=False, has_graph=True, lost_prompts=lost)
        assert decision.action is Action.REQUEUE, "a row does not depend on the setting for other prompts"


def test_without_a_graph_a_lost_task_fails_as_never_submitted() -> None:
    decision = decide(ROW_TASK, ABSENT, on_disk=False, has_graph=False)
    assert (decision.action, decision.reason.en) == (Action.FAIL, "lost before it was submitted")


@pytest.mark.parametrize("task", [ROW_TASK, OTHER_TASK])
def test_a_task_that_took_comfyui_down_three_times_is_given_up(task: TaskRecord) -> None:
    for attempts in range(MAX_ATTEMPTS + 3):
        decision = decide(
            attempted(task, attempts), ABSENT, on_disk=False, has_graph=True, lost_prompts=LostPrompts.AUTO
        )
        assert decision.action is (Action.REQUEUE if attempts < 3 else Action.FAIL)
    assert "5 times" in decision.reason.en
    assert "5 次" in decision.reason.zh


def test_the_limit_of_attempts_is_a_setting() -> None:
    once = attempted(ROW_TASK, 1)
    assert decide(once, ABSENT, on_disk=False, has_graph=True, max_attempts=1).action is Action.FAIL
    assert decide(once, ABSENT, on_disk=False, has_graph=True, max_attempts=2).action is Action.REQUEUE


@pytest.mark.parametrize("task", [ROW_TASK, OTHER_TASK])
def test_what_is_cut_off_in_good_order_again_and_again_is_not_started_for_ever(task: TaskRecord) -> None:
    """A power cut in between is no end either. Until a person asks for it anew."""
    for time in range(MOST_CUT_OFF):
        assert decided(task).action is Action.REQUEUE, "nobody is blamed for some restarts"
        begun = started(dataclasses.replace(task, queue=QueuePlace("boot", started_by="a ComfyUI")))
        task = gone_with_power(dataclasses.replace(begun, queue=QueuePlace())) if time == 3 else settled(begun)
    assert decided(task).action is Action.FAIL
    assert f"{MOST_CUT_OFF} times" in decided(task).reason.en
    assert f"{MOST_CUT_OFF} 次" in decided(task).reason.zh
    again = counted_anew(task)
    assert decided(again).action is Action.REQUEUE
    assert again.runs == task.runs == MOST_CUT_OFF, "by which the files of its runs are told apart"


def decided(task: TaskRecord) -> Decision:
    return decide(task, ABSENT, on_disk=False, has_graph=True, lost_prompts=LostPrompts.AUTO)


def settled(task: TaskRecord) -> TaskRecord:
    return start_settled(task, counts=False)


@pytest.mark.parametrize(
    ("lost", "action"),
    [(LostPrompts.ASK, Action.ASK), (LostPrompts.AUTO, Action.REQUEUE), (LostPrompts.OFF, Action.CANCEL)],
)
def test_a_lost_prompt_without_a_row_follows_the_setting(lost: LostPrompts, action: Action) -> None:
    assert decide(OTHER_TASK, ABSENT, on_disk=False, has_graph=True, lost_prompts=lost).action is action


def test_asking_is_the_default_for_prompts_without_a_row() -> None:
    assert decide(OTHER_TASK, ABSENT, on_disk=False, has_graph=True).action is Action.ASK


def test_where_another_plugin_hides_pending_prompts_nothing_is_queued_unasked() -> None:
    for task, lost in itertools.product((ROW_TASK, OTHER_TASK), (LostPrompts.ASK, LostPrompts.AUTO)):
        decision = decide(task, ABSENT, on_disk=False, has_graph=True, can_queue=False, lost_prompts=lost)
        assert decision.action is Action.ASK


def test_absent_is_never_concluded_from_a_failed_look_up() -> None:
    assert decide(ROW_TASK, UNKNOWN, on_disk=False, has_graph=False).action is Action.LEAVE


@pytest.mark.parametrize("place", sorted({*Place} - {Place.ASKING, Place.INTERRUPTED}))
@pytest.mark.parametrize("attempts", [0, 3])
def test_what_a_cloud_does_is_not_said_of_comfyui(place: Place, attempts: int) -> None:
    task = attempted(ROW_TASK, attempts)
    decision = decide(task, Sighting(place), on_disk=False, has_graph=True, who="RunningHub")
    for said in (decision.reason.en, decision.reason.zh):
        assert "RunningHub" in said
        assert "ComfyUI" not in said
        assert "WHO" not in said
    assert decide(task, Sighting(place), on_disk=False, has_graph=True).action is decision.action
