"""Stories of a table that several work in, each as short as it could be made. All end well now."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator

import pytest
import shared_judge
from shared_world import SHAPES, SharedWorld

from wfrecovery.bridge.table.database import Change
from wfrecovery.bridge.table.records import TaskRecord


@pytest.fixture
def world() -> Iterator[SharedWorld]:
    """Two ComfyUIs are up."""
    world = SharedWorld()
    world.start("A")
    world.start("B")
    world.rest()
    yield world
    world.close()


def ends_well(world: SharedWorld) -> None:
    world.heal()
    shared_judge.healed(world)


def test_main_py_and_a_restarted_comfyui_do_not_wait_for_each_other(world: SharedWorld) -> None:
    """main.py has taken over what a killed ComfyUI had in its queue; the plugin's record still says: queued."""
    world.begin("one")
    world.rest()
    for _ in range(2):
        world.wait(2.0)
        world.work("A", 2)
    life = world.comfys["A"]
    assert life is not None
    world.kill(life)
    world.wait(2.5)
    ends_well(world)


@pytest.mark.parametrize("seconds", [2.0, 30.0])
def test_a_whole_file_is_found_although_a_program_follows_its_row(world: SharedWorld, seconds: float) -> None:
    """Nobody takes the row in the downtime, in which nobody can see what lies there; nor does another ComfyUI."""
    life = world.comfys["B"]
    assert life is not None
    world.kill(life)
    world.begin("one")
    world.rest()
    world.kill_when_whole("A")
    assert world.comfys["A"] is None
    world.wait(seconds)
    ends_well(world)


def test_an_owner_whose_lock_was_deleted_lives(world: SharedWorld) -> None:
    """The other ComfyUI looks before the lock is made again."""
    world.wait(5.0)
    world.post("A", SHAPES["slow"])
    world.post("A", SHAPES["one"])
    world.work("A", 1)
    world.delete("locks")
    world.wait(2.5)
    world.work("B", 20)
    world.work("A", 20)
    ends_well(world)


def test_a_wish_that_another_comfyui_has_taken_is_obeyed(world: SharedWorld) -> None:
    """The worker takes the prompt before its own ComfyUI has looked for wishes."""
    world.post("A", SHAPES["one"])
    world.post("A", SHAPES["one"])
    world.cancel("B", "ours", 1)
    world.work("A", 20)
    ends_well(world)


def test_an_orderly_end_is_noted_in_a_folder_that_was_emptied(world: SharedWorld) -> None:
    world.post("A", SHAPES["slow"])
    world.delete("all")
    life = world.comfys["A"]
    assert life is not None
    with life.on():
        life.plugin._db.owners.ending()
    assert list(world.output.glob("wfrecovery/owners/*.ended"))
    world.end("A")
    ends_well(world)


def test_what_a_recovery_has_taken_and_could_not_decide_is_decided_again(world: SharedWorld) -> None:
    """Somebody holds the table's lock just then; and the task is this ComfyUI's already, so that no other takes it."""
    world.post("A", SHAPES["one"])
    world.work("A", 3)
    [start] = world.marks.starts
    assert start.whole
    for name in ("A", "B"):
        life = world.comfys[name]
        assert life is not None
        world.kill(life)
    world.start("A")
    life = world.comfys["A"]
    assert life is not None
    ours = {"kind": "comfyui", "boot": life.plugin._db.owners.me.boot}
    while world.records()[start.task_id]["metadata"]["owner"] != ours:
        life.step()
    world.computer.held = 1
    world.rest()
    world.computer.held = 0
    assert world.open() == [start.task_id]
    world.wait(70.0)
    assert world.open() == []
    ends_well(world)


def cancelled_task(world: SharedWorld) -> str:
    """One that waited in A and was taken out by a person, who may want it again."""
    world.post("A", SHAPES["one"])
    world.post("A", SHAPES["one"])
    world.cancel("A", "ours", 1)
    world.work("A", 20)
    [task_id] = world.marks.cancelled
    world.marks.cancelled.clear()
    return task_id


def test_what_a_person_wants_again_and_comfyui_stumbles_over_is_queued_later(
    world: SharedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another plugin's handler raises; the task is this ComfyUI's by then, and stands in no queue."""
    task_id, life = cancelled_task(world), world.comfys["A"]
    assert life is not None
    with monkeypatch.context() as patch:
        patch.setattr(life.plugin._host, "submit", _stumbles)
        with pytest.raises(RuntimeError):
            life.act(task_id, "retry")
    assert world.records()[task_id]["metadata"]["stage"] == "queued"
    world.wait(70.0)
    world.work("A", 20)
    ends_well(world)
    assert world.records()[task_id]["metadata"]["stage"] == "finished"


async def _stumbles(_: object) -> None:
    raise RuntimeError("a handler of another plugin")


def test_a_person_and_the_recovery_at_once_queue_a_task_once(
    world: SharedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ComfyUI takes its time to check the prompt that is wanted again, and meanwhile everything is recovered."""
    task_id, life = cancelled_task(world), world.comfys["A"]
    assert life is not None
    submit, checked, asked = life.plugin._host.submit, asyncio.Event(), []

    async def slow(body: object) -> object:
        asked.append(body)
        await checked.wait()
        return await submit(body)

    monkeypatch.setattr(life.plugin._host, "submit", slow)
    with life.on():
        retried = life.loop.create_task(life.plugin._requests.retry(task_id))
    while not asked:
        life.step()
    life.recover()
    checked.set()
    world.rest()
    world.work("A", 40)
    assert retried.done()
    assert [start.task_id for start in world.marks.starts].count(task_id) == 1
    assert len(world.marks.starts) == 2
    ends_well(world)


def taken_over(world: SharedWorld) -> int:
    """What waited in A is B's; its number."""
    world.post("A", SHAPES["slow"])
    waits = world.post("A", SHAPES["one"])
    world.work("A", 1)
    life = world.comfys["A"]
    assert life is not None
    world.recover("B", take_over=life.plugin._db.owners.me.boot)
    world.rest()
    return waits


def test_what_was_taken_over_does_not_start_where_it_waited(world: SharedWorld) -> None:
    """Its former ComfyUI lives and still has it in its queue, before the other one has come to it."""
    waits = taken_over(world)
    world.work("A", 20)
    assert [start.graph for start in world.marks.starts].count(waits) == 0
    world.work("B", 20)
    assert [start.comfy for start in world.marks.starts if start.graph == waits] == [world.comfys["B"]]
    ends_well(world)


def test_a_prompt_that_comes_with_the_id_of_another_comfyui_s_task_is_a_task_of_its_own(world: SharedWorld) -> None:
    world.post("A", SHAPES["slow"])
    world.post("A", SHAPES["one"])
    [(task_id, record)] = [(name, one) for name, one in world.records().items() if one["metadata"]["stage"] == "queued"]
    tag = {"task_id": task_id, "prompt_id": record["comfyui_task_id"]}
    number, life = world._new_shape(SHAPES["one"]), world.comfys["B"]
    assert life is not None
    body = {"prompt": world.graph(number), "prompt_id": tag["prompt_id"]}
    assert life.post({**body, "extra_data": {"extra_pnginfo": {"wfrecovery": tag}}})[0] == 200
    world.work("B", 20)
    assert [start.task_id for start in world.marks.starts if start.graph == number] == ["job_" + task_id[4:-3] + "003"]
    ends_well(world)


def test_what_was_taken_over_and_comes_back_was_not_interrupted_by_anybody(world: SharedWorld) -> None:
    """Where it waited it ends unrun, which stands in the history there; then whoever has it dies."""
    waits = taken_over(world)
    world.work("A", 20)
    life = world.comfys["B"]
    assert life is not None
    world.kill(life)
    world.wait(5.0)
    world.work("A", 20)
    assert [start.comfy for start in world.marks.starts if start.graph == waits] == [world.comfys["A"]]
    ends_well(world)


def test_what_a_person_deletes_where_it_waited_is_cancelled_where_it_is_now(world: SharedWorld) -> None:
    taken_over(world)
    ids = sorted(world.records())
    world.cancel("A", "delete", 1)
    assert world.marks.cancelled == {ids[1]}
    world.work("B", 20)
    ends_well(world)


@pytest.mark.parametrize("passes", [45, 60, 120])
def test_what_the_command_line_has_taken_over_is_not_sent_again_by_the_program_it_came_from(
    world: SharedWorld, passes: int
) -> None:
    """That has a table of its own, and finds its prompts in no queue and no history of the ComfyUI that it knows."""
    a, b = world.comfys["A"], world.comfys["B"]
    assert a is not None
    assert b is not None
    world.kill(b)
    world.post("A", SHAPES["slow"])
    world.begin("far", passes=passes)
    world.work("A", 1)
    world.recover("B", take_over=a.plugin._db.owners.me.boot)
    [command] = world.commands
    while {(record["metadata"]["owner"] or {}).get("kind") for record in world.records().values()} != {"main"}:
        world.breathe()
    command.stopped = True
    taken = {record["row_number"] for record in world.records().values()}
    assert len(taken) > 1
    world.kill(a)
    world.start("A")
    world.wait(30.0)
    world.work("A", 20)
    assert [start for start in world.marks.starts if start.graph + 1 in taken] == []
    ends_well(world)


def test_what_was_taken_over_before_the_disk_refused_the_rest_is_decided(
    world: SharedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person has asked for all of them, and was told of an error; the first is this ComfyUI's by then."""
    world.post("A", SHAPES["slow"])
    world.post("A", SHAPES["one"])
    world.work("A", 1)
    a, b = world.comfys["A"], world.comfys["B"]
    assert a is not None
    assert b is not None
    taken, update = [], b.plugin._db.table.update

    def once(task_id: str, change: Change) -> TaskRecord:
        if taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken.append(task_id)
        return update(task_id, change)

    world.marks.replaced.add(a.plugin._db.owners.me.boot)
    with b.on(), monkeypatch.context() as patch:
        patch.setattr(b.plugin._db.table, "update", once)
        with pytest.raises(OSError, match="No space"):
            b.plugin._requests.take_over(a.plugin._db.owners.me.boot)
    world.wait(70.0)
    world.work("B", 20)
    assert world.records()[taken[0]]["metadata"]["stage"] == "finished"
    ends_well(world)
