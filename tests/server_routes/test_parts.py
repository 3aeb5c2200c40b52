"""A prompt in parts, whose node has queued it again: it ends as one, and what is over does not go on in parts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from plugin_support import ONE_HOST, AtOnce, Comfy, picture, row, until

from wfrecovery.bridge.engines.history import Place
from wfrecovery.bridge.results.contents import Contents
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import QueuePlace
from wfrecovery.demo.comfyui_host import execution
from wfrecovery.server_routes.host import Host
from wfrecovery.server_routes.queue.ending import Endings
from wfrecovery.server_routes.queue.intake import Intake
from wfrecovery.server_routes.queue.prompts import Prompts
from wfrecovery.server_routes.queue.recorder import Recorder
from wfrecovery.server_routes.queue.writing import Writer
from wfrecovery.server_routes.recovery.startup import StartupRecovery

PART_NODES = Path(__file__).with_name("part_nodes")


@pytest.fixture(params=ONE_HOST)
def comfy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Comfy]:
    env = {"TRY_PARTS": str(tmp_path)}
    with Comfy(tmp_path / "comfyui", request.param, plugins=[PART_NODES], env=env) as process:
        yield process


def in_two(prefix: str, *, late: bool = False, parts: int = 2) -> dict[str, Any]:
    """A graph in two parts, or more, the next ones queued as the first begins, or `late`: as it ends."""
    graph = picture(prefix)
    own = {"image": ["1", 0], "prefix": prefix, "late": late, "part": 1, "parts": parts}
    graph["9"] = {"class_type": "TryNext", "inputs": own}
    return graph


def ends(folder: Path, part: str, words: str = "") -> None:
    """Let a part end; with `words`, by that error."""
    ready = folder / "ready"
    ready.write_text(words)
    ready.replace(folder / part)


def begun(folder: Path, part: str) -> None:
    """Wait until its node runs: a prompt that is interrupted before, in another node, ends without it."""
    until((folder / f"{part}.begun").exists)


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
    begun(tmp_path, "a.1")
    wish(comfy, prompt)
    assert comfy.record(prompt)["metadata"]["cancel_requested"]
    ends(tmp_path, "a.1")
    comfy.until_stage(prompt, "cancelled", "finished")
    until(lambda: not comfy.pending())
    assert comfy.stage(prompt) == "cancelled"
    assert not comfy.pictures("a_part2.png")


@pytest.mark.parametrize("parts", [3, 4])
def test_of_several_next_parts_none_runs_after_a_wish(comfy: Comfy, tmp_path: Path, parts: int) -> None:
    """The first of them that does not run is not taken for the one behind it, which then nobody would know."""
    prompt = comfy.queue(in_two("a", late=True, parts=parts), row(2))
    begun(tmp_path, "a.1")
    by_our_button(comfy, prompt)
    for part in range(2, parts + 1):
        ends(tmp_path, f"a.{part}")
    ends(tmp_path, "a.1")
    until(lambda: not comfy.pending())
    assert comfy.until_stage(prompt, "cancelled", "finished")["metadata"]["stage"] == "cancelled"
    assert [path.name for path in comfy.pictures()] == ["a_part1.png"]


def test_several_next_parts_are_one_task(comfy: Comfy, tmp_path: Path) -> None:
    prompt = comfy.queue(in_two("a", parts=4), row(2))
    for part in range(1, 5):
        ends(tmp_path, f"a.{part}")
    assert comfy.finished(prompt)["output_files"] == [f"a_part{part}.png" for part in range(1, 5)]


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


class QuietHost(Host):
    """ComfyUI's queue alone."""

    def hear_interrupts(self, *_: Any) -> None:
        """Nobody interrupts."""


def listen(
    server: Any, db: DatabaseManager, intake: Intake, prompts: Prompts, writer: Writer, on_change: Callable[..., None]
) -> Recorder:
    recorder = Recorder(
        QuietHost(server),
        db,
        writer,
        intake=intake,
        prompts=prompts,
        endings=Endings(db.output_dir, Contents(db.table.files, db.output_dir)),
        boot="boot",
        document=lambda: None,
        on_change=on_change,
        on_progress=lambda *_: None,
        on_start=lambda: None,
        unwanted=lambda _: [],
        pool=lambda _: AtOnce(),
    )
    recorder.install()
    return recorder


def server_with_queue() -> Any:
    server = SimpleNamespace(send_sync=lambda *_: None, queue_updated=lambda: None)
    server.prompt_queue = execution.PromptQueue(cast(Any, server))
    return server


def test_what_is_asked_for_anew_as_soon_as_its_part_has_failed_is_not_ended_with_its_next_part(tmp_path: Path) -> None:
    """Whoever sees that it has failed finds nothing of it in the queue; nothing of it ends it once more."""
    db, prompts = DatabaseManager(tmp_path), Prompts()
    server = server_with_queue()
    queue, writer = server.prompt_queue, Writer(lambda _: AtOnce())
    intake = Intake(db, writer, prompts, lambda: True)
    seen: list[bool] = []

    def person(task: TaskRecord) -> None:
        if task.stage is Stage.FAILED:
            seen.append(intake.has_task(task.task_id))
            db.table.update(task.task_id, lambda now: now.entering(Stage.QUEUED))

    listen(server, db, intake, prompts, writer, on_change=person)
    body: dict[str, Any] = {"prompt": {}, "prompt_id": str(uuid.uuid4()), "extra_data": {"wfrecovery": row(2)}}
    intake.on_prompt(body)
    queue.put((0, body["prompt_id"], {}, body["extra_data"], [], {}))
    taken = queue.get()
    assert taken is not None
    for part in ("two", "three"):
        queue.put((1, part, {}, body["extra_data"], [], {}))
    queue.task_done(taken[1], {}, execution.ExecutionStatus("error", False, [("execution_error", {})]))
    (task_id,) = db.table.ids()
    assert (seen, queue.queue) == ([False], [])
    assert (db.table.get(task_id).stage, db.table.get(task_id).cancel_requested) == (Stage.QUEUED, None)


def test_of_several_that_another_plugin_runs_at_once_an_interruption_ends_one(tmp_path: Path) -> None:
    """Which, ComfyUI knows: what is not stopped by it is not wanted to end, and stops no other in its turn."""
    db, prompts, server = DatabaseManager(tmp_path), Prompts(), server_with_queue()
    queue, writer = server.prompt_queue, Writer(lambda _: AtOnce())
    intake = Intake(db, writer, prompts, lambda: True)
    recorder = listen(server, db, intake, prompts, writer, on_change=lambda _: None)
    for number in (2, 3):
        body: dict[str, Any] = {"prompt": {}, "prompt_id": str(uuid.uuid4()), "extra_data": {"wfrecovery": row(number)}}
        intake.on_prompt(body)
        queue.put((number, body["prompt_id"], {}, body["extra_data"], [], {}))
    first, second = queue.get(), queue.get()
    recorder.interrupted()
    queue.task_done(first[1], {}, execution.ExecutionStatus("error", False, [("execution_interrupted", {})]))
    wishes = {task.row_number: (task.stage, task.cancel_requested) for task in map(db.table.get, db.table.ids())}
    assert wishes[2][0] is Stage.CANCELLED
    assert wishes[3] == (Stage.RUNNING, None)
    recorder.interrupted()
    assert [db.table.get(task_id).cancel_requested for task_id in db.table.ids()].count(None) == 1
    queue.task_done(second[1], {}, execution.ExecutionStatus("success", True, [("execution_success", {})]))


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
    assert recovery._sighting(task, {}).place is place
