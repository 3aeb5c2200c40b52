"""Stories that the machine has found, each as short as it could make it. All end well now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from judge import Judge
from world import World


@pytest.fixture
def world() -> Iterator[World]:
    """ComfyUI is up, and lost prompts without a row are queued again by themselves."""
    world = World(lost="auto")
    world.start()
    yield world
    world.close()


def ends_well(world: World) -> None:
    world.heal()
    Judge(world).healed()


def records(world: World) -> list[tuple[str, int]]:
    """How each task ended, and with how many files."""
    return [(record["status"], len(record["output_files"])) for _, record in sorted(world.records().items())]


# ------------------------------------------------------------------ two prompts with one id


def test_two_prompts_with_one_id_are_both_queued_again(world: World) -> None:
    first = world.post(None)
    world.post(None, same_id=first)
    world.kill()
    ends_well(world)
    assert records(world) == [("已完成", 1), ("已完成", 1)]


def test_a_prompt_is_not_finished_by_the_end_of_another_with_its_id(world: World) -> None:
    first = world.post(None)
    world.post(None, same_id=first, dies=13)
    world.start(working=True)
    ends_well(world)


# ------------------------------------------------------------------ a person asks for it anew


def test_what_an_earlier_run_has_left_is_no_part_of_what_a_person_asked_for(world: World) -> None:
    """Nothing is named; the files of each run are told apart by its number, which goes on."""
    post = world.post(1, "several silent")
    world.work_all()
    world.take_away(world.files[0], delete=False)
    (task_id,) = world.records()
    world.act(task_id, "retry")
    world.work_all()
    ends_well(world)
    assert {file.run for file in world.files if file.run.prompt_id == post.prompt_id} == set(world.runs)
    assert records(world) == [("已完成", 2)]


def test_one_file_of_each_of_two_runs_is_no_whole_result(world: World) -> None:
    """A saver fails behind its first file; a person asks again, and ComfyUI dies there."""
    world.post(1, "torn")
    world.work_all()
    (task_id,) = world.records()
    world.act(task_id, "retry")
    world.work(3)
    world.kill()
    assert [(file.index, file.whole) for file in world.files] == [(0, True), (0, True)]
    ends_well(world)
    assert records(world) == [("已完成", 2)]


# ------------------------------------------------------------------ killed between two words of ComfyUI


def test_a_whole_result_of_a_known_class_counts_though_its_node_was_still_at_work(world: World) -> None:
    """ComfyUI has named the file, and dies before it says that the node has ended."""
    for dies in range(1, 30):
        post = world.post(1)
        world.work(2)
        world.work(1, dies=dies)
        if world.alive:
            break
        ends_well(world)
        assert sum(run.prompt_id == post.prompt_id for run in world.runs) == 1, dies
    ends_well(world)


# ------------------------------------------------------------------ the file that is delivered is gone


@pytest.mark.parametrize("cached", [False, True])
def test_no_other_file_takes_the_place_of_the_one_that_is_delivered(world: World, cached: bool) -> None:
    """Of two files the last goes into the sheet; a person moves it away before the prompt ends, or is answered."""
    post = world.post(None if cached else 1, "several")
    world.work(4)
    if cached:
        world.work_all()
    world.take_away(world.files[1], delete=False)
    if cached:
        world.again(post, 1)
    ends_well(world)
    (record,) = (record for record in world.records().values() if record["row_number"] is not None)
    assert record["status"] == "失败"
    assert "graph1_00002_.png" in record["error_message"]


# ------------------------------------------------------------------ counted, and killed before it began


def test_an_attempt_that_was_counted_and_never_began_is_one_of_the_three(world: World) -> None:
    """The first prompt of a life is counted as it is put; that SIGKILL comes before the worker has it is no fault of
    anybody's."""
    for dies in range(1, 40):
        world.post(2, dies=dies)
        if world.alive:
            break
        for _ in range(3):
            world.start()
            world.work(2)
            world.kill()
        ends_well(world)
        world.kill()
        world.start()
    assert world.unbegun.total() > 0
