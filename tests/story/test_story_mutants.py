"""Wrong programs that the stories must catch: each breaks one promise about what a result is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from story_machine import StoryMachine

from wfrecovery.bridge.feishu import deliverables
from wfrecovery.bridge.results import whole_result as whole
from wfrecovery.bridge.results.contents import Contents
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.values import Result
from wfrecovery.server_routes.queue import ending

#: Stories in which the fault has to come to light.
BUDGET = 400

Patch = Callable[[pytest.MonkeyPatch], None]


def no_content_check(patch: pytest.MonkeyPatch) -> None:
    def path(self: Contents, _: TaskRecord, result: Result) -> Path:
        return self._output_dir / result.path

    patch.setattr(Contents, "verified", path)
    patch.setattr(Contents, "read", lambda self, task, result: path(self, task, result).read_bytes())


def unknown_counts_as_one(patch: pytest.MonkeyPatch) -> None:
    def counts(graph: Any) -> dict[str, int]:
        return {node: 1 if number is None else number for node, number in graph.get("files", {}).items()}

    patch.setattr(whole, "_counts", counts)


def the_second_file_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    known = whole._counts
    patch.setattr(whole, "_counts", lambda graph: {node: min(number, 1) for node, number in known(graph).items()})


def chosen_by_order(patch: pytest.MonkeyPatch) -> None:
    for module in (ending, deliverables):
        patch.setattr(module, "chosen", lambda task, *_: task.results[0] if task.results else None)


@pytest.mark.parametrize(
    ("mutant", "first"),
    [
        # with the seeds whose stories told it soonest when it was last looked
        pytest.param(no_content_check, 4, id="no_content_check"),
        pytest.param(unknown_counts_as_one, 13, id="unknown_counts_as_one"),
        pytest.param(the_second_file_is_not_waited_for, 14, id="the_second_file_is_not_waited_for"),
        pytest.param(chosen_by_order, 0, id="chosen_by_order"),
    ],
)
def test_a_wrong_program_is_caught(mutant: Patch, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    told = settings(
        max_examples=BUDGET,
        stateful_step_count=15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(seed(first)(StoryMachine), settings=told)
