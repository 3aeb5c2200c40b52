"""A prompt in parts, whose node has queued it again: it ends as one, and what is over does not go on in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plugin_support import ONE_HOST, Comfy, picture, row, until

from wfrecovery.bridge.engines.history import Place
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import QueuePlace
from wfrecovery.server_routes.recovery.startup import StartupRecovery

PART_NODES = Path(__file__).with_name("part_nodes")


@pytest.fixture(params=ONE_HOST)
def comfy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Comfy]:
    env = {"TRY_PARTS": str(tmp_path)}
    with Comfy(tmp_path / "comfyui", request.param, plugins=[PART_NODES], env=env) as process:
        yield process


def in_two(prefix: str, *, late: bool = False) -> dict[str, Any]:
    """A graph in two parts, the second queued as the first begins, or `late`: as it ends."""
    graph = picture(prefix)
    graph["9"] = {"class_type": "TryNext", "inputs": {"image": ["1", 0], "prefix": prefix, "late": late, "part": 1}}
    return graph


def ends(folder: Path, part: str, words: str = "") -> None:
    """Let a part end; with `words`, by that error."""
    ready = folder / "ready"
    ready.write_text(words)
    ready.replace(folder / part)


def by_our_button(comfy: Comfy, prompt: str) -> None:
    assert comfy.act(comfy.record(prompt)["task_id"], "cancel").status_code == 202


def by_interrupt(comfy: Comfy, _: str) -> None:
    assert comfy.call("POST", "/interrupt", json={}).status_code == 200


def by_clear(comfy: Comfy, _: str) -> None:
    assert comfy.call("POST", "/queue", json={"clear": True}).status_code == 200


def test_two_parts_are_one_task(comfy: Comfy, tmp_path: Path) -> None:
    prompt = comfy.queue(in_two("a"), row(2))
    ends(tmp_path, "a.1")
    ends(tmp_path, "a.2")
    assert comfy.finished(prompt)["output_files"] == ["a_part1.png", "a_part2.png"]


@pytest.mark.parametrize("wish", [by_our_button, by_interrupt])
def test_a_wish_that_came_before_the_next_part_is_meant_for_it(
    comfy: Comfy, tmp_path: Path, wish: Callable[[Comfy, str], None]
) -> None:
    """The part that runs hears nothing, and queues the next one when the wish is on disk."""
    prompt = comfy.queue(in_two("a", late=True), row(2))
    comfy.until_stage(prompt, "running")
    wish(comfy, prompt)
    assert comfy.record(prompt)["metadata"]["cancel_requested"]
    ends(tmp_path, "a.1")
    comfy.until_stage(prompt, "cancelled", "finished")
    until(lambda: not comfy.pending())
    assert comfy.stage(prompt) == "cancelled"
    assert not comfy.pictures("a_part2.png")


@pytest.mark.parametrize("take_out", [by_our_button, by_clear])
def test_the_next_part_is_taken_out_and_the_task_ends_with_the_one_that_runs(
    comfy: Comfy, tmp_path: Path, take_out: Callable[[Comfy, str], None]
) -> None:
    prompt = comfy.queue(in_two("a"), row(2))
    until(lambda: len(comfy.pending()) == 2)
    task_id = comfy.record(prompt)["task_id"]
    take_out(comfy, prompt)
    until(lambda: len(comfy.pending()) == 1)
    # it runs still: nothing that is queued for it now would be brought to an end
    assert comfy.act(task_id, "retry").status_code == 409
    ends(tmp_path, "a.1")
    comfy.until_stage(prompt, "cancelled")
    until(lambda: not comfy.pending())
    assert comfy.act(task_id, "retry").status_code == 202
    ends(tmp_path, "a.2")
    assert comfy.finished(prompt)["output_files"] == ["a_part1.png", "a_part2.png"]


def test_a_part_that_fails_ends_the_task_with_its_next_parts(comfy: Comfy, tmp_path: Path) -> None:
    """Retried, it is a whole one again."""
    prompt = comfy.queue(in_two("a"), row(2))
    until(lambda: len(comfy.pending()) == 2)
    ends(tmp_path, "a.1", "part one broke")
    record = comfy.until_stage(prompt, "failed")
    assert "part one broke" in record["error_message"]
    until(lambda: not comfy.pending())
    ends(tmp_path, "a.1")
    assert comfy.act(record["task_id"], "retry").status_code == 202
    ends(tmp_path, "a.2")
    assert comfy.finished(prompt)["output_files"] == ["a_part1.png", "a_part2.png"]


@pytest.mark.parametrize(
    ("parts", "here", "place"),
    [((), True, Place.SUCCEEDED), (("part two",), True, Place.RUNNING), (("part two",), False, Place.SUCCEEDED)],
)
def test_what_the_history_has_of_the_first_part_is_not_the_whole(
    tmp_path: Path, parts: tuple[str, ...], here: bool, place: Place
) -> None:
    """All parts have ended, and the last one's end is not in the record yet: a recovery that comes in that moment."""
    db = DatabaseManager(tmp_path)
    entry = {"outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}
    host: Any = SimpleNamespace(queued=lambda: ([], []), history_entry=lambda _: entry)
    others: dict[str, Any] = dict.fromkeys(
        ("requeueing", "requests", "writer", "endings", "settings", "on_change", "on_progress")
    )
    recovery = StartupRecovery(host=host, db=db, **others)
    queue = QueuePlace(parts=parts, started_by=db.owners.me.boot if here else "another boot")
    task = new_task(db.table.claim_id("图片合成"), Stage.RUNNING, comfyui_task_id="part one", queue=queue)
    assert recovery._sighting(task).place is place
