"""Stories of a table that several work in, each as short as it could be made. All end well now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import shared_judge
from shared_world import SHAPES, SharedWorld


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
