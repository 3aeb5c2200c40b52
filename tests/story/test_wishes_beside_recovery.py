"""A person wants an end while a recovery is about to decide: what is meant by that, and what is too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from life import Life, Request
from shared_world import MOST_TURNS, SHAPES, SharedWorld

from wfrecovery.bridge.table.changes import wished_away
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage


@pytest.fixture
def world() -> Iterator[SharedWorld]:
    world = SharedWorld()
    world.start("A")
    world.rest()
    yield world
    world.close()


def life_of(world: SharedWorld) -> Life:
    life = world.comfys["A"]
    assert life is not None
    return life


def only_task(world: SharedWorld) -> tuple[str, dict[str, Any]]:
    [(task_id, record)] = world.records().items()
    return task_id, record


async def asked(life: Life, path: str, body: Any = None) -> None:
    found = life.route("POST", path)
    assert found is not None, path
    answer = await life.served(Request("POST", path, body, **found[1]), found[0])
    assert answer.status < 400


async def comes(condition: Callable[[], Any]) -> None:
    """Until then the loop goes on, pass by pass."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def when_undecided(life: Life) -> None:
    """A recovery knows what it has to decide, and has decided nothing."""
    await comes(lambda: life.plugin._recovery.undecided)


async def when_taken(life: Life) -> None:
    """The recovery has begun with the task."""
    await when_undecided(life)
    [task_id] = life.plugin._recovery.undecided
    await comes(lambda: life.plugin._db.owners.is_me(life.plugin._db.table.get(task_id).owner))


async def at_once(_: Life) -> None:
    """It is not known yet what is lost."""


def clear(life: Life, _: str) -> Coroutine[Any, Any, None]:
    return asked(life, "/queue", {"clear": True})


def delete(life: Life, prompt_id: str) -> Coroutine[Any, Any, None]:
    return asked(life, "/queue", {"delete": [prompt_id]})


def interrupt(life: Life, prompt_id: str) -> Coroutine[Any, Any, None]:
    return asked(life, "/interrupt", {"prompt_id": prompt_id})


def cancel_job(life: Life, prompt_id: str) -> Coroutine[Any, Any, None]:
    return asked(life, f"/api/jobs/{prompt_id}/cancel")


def cancel_jobs(life: Life, prompt_id: str) -> Coroutine[Any, Any, None]:
    return asked(life, "/api/jobs/cancel", {"job_ids": [prompt_id]})


@pytest.mark.parametrize("when", [at_once, when_undecided])
@pytest.mark.parametrize("end", [clear, delete, interrupt, cancel_job, cancel_jobs])
def test_what_ran_ends_by_whatever_comfyui_is_asked(
    world: SharedWorld,
    end: Callable[[Life, str], Coroutine[Any, Any, None]],
    when: Callable[[Life], Coroutine[Any, Any, None]],
) -> None:
    """By a page that was open before ComfyUI went down, and still shows it; ComfyUI does not know it."""
    world.post("A", SHAPES["slow"])
    world.work("A", 2)
    world.kill(life_of(world))
    task_id, record = only_task(world)
    world.start("A")
    life = life_of(world)

    async def ended() -> None:
        await when(life)
        await end(life, record["comfyui_task_id"])

    life.run(ended())
    world.rest()
    assert world.records()[task_id]["metadata"]["stage"] == "cancelled"


@pytest.mark.parametrize("take_out", [clear, delete])
def test_what_runs_is_in_no_queue_that_is_cleared(
    world: SharedWorld, take_out: Callable[[Life, str], Coroutine[Any, Any, None]]
) -> None:
    """ComfyUI lets it run; so do we, also where a recovery has not come to it yet."""
    world.post("A", SHAPES["slow"])
    world.work("A", 2)
    life, (task_id, record) = life_of(world), only_task(world)
    assert record["metadata"]["stage"] == "running"

    async def taken_out() -> None:
        life.plugin._recovery.start()
        await when_undecided(life)
        await take_out(life, record["comfyui_task_id"])

    life.run(taken_out())
    world.wait(5.0)
    world.work("A", MOST_TURNS)
    world.wait(5.0)
    assert world.records()[task_id]["status"] == "已完成"


def test_what_asks_stands_in_no_queue(world: SharedWorld) -> None:
    """It has asked before the recovery began, and goes on asking."""
    world.post("A", SHAPES["slow"])
    world.kill(life_of(world))
    task_id, _ = only_task(world)
    DatabaseManager(world.output).table.update(task_id, lambda task: task.entering(Stage.ASKING))
    world.start("A")
    life = life_of(world)

    async def cleared() -> None:
        await comes(lambda: life.plugin._recovery.state.total)
        await clear(life, "")

    life.run(cleared())
    world.rest()
    assert world.records()[task_id]["metadata"]["stage"] != "cancelled"


def cancel(life: Life, task_id: str) -> Coroutine[Any, Any, None]:
    return asked(life, f"/wfrecovery/tasks/{task_id}/cancel")


def obey(life: Life, task_id: str) -> Coroutine[Any, Any, None]:
    """Another program has written the wish down, and the watch has seen it."""
    life.plugin._db.table.update(task_id, wished_away)
    return life.plugin._requests.obey(task_id)


@pytest.mark.parametrize(
    ("when", "wish"), [(at_once, cancel), (when_undecided, cancel), (when_taken, cancel), (when_taken, obey)]
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_lost_is_decided_by_the_recovery(
    world: SharedWorld,
    when: Callable[[Life], Coroutine[Any, Any, None]],
    wish: Callable[[Life, str], Coroutine[Any, Any, None]],
    whole: bool,
) -> None:
    """Its whole result may lie there: then a wish is too late."""
    world.post("A", SHAPES["one" if whole else "slow"])
    if whole:
        world.kill_when_whole("A")
    else:
        world.work("A", 2)
        world.kill(life_of(world))
    task_id, record = only_task(world)
    assert record["metadata"]["stage"] == "running"
    world.start("A")
    life = life_of(world)

    async def wished() -> None:
        await when(life)
        await wish(life, task_id)

    life.run(wished())
    assert world.records()[task_id]["metadata"].get("cancel_requested")
    world.rest()
    world.wait(5.0)
    world.work("A", MOST_TURNS)
    world.wait(5.0)
    assert world.records()[task_id]["metadata"]["stage"] == ("finished" if whole else "cancelled")
    assert len([start for start in world.marks.starts if start.task_id == task_id]) == 1
