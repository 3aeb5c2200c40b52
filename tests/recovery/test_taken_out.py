"""A person takes rows out of the queue of a ComfyUI without the plugin: that is told from a ComfyUI that went down.

The engine is in the test's own process: each step of it is the test's.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engine_support import DONE, Engine, hurry, main_py, process_row, until

from wfrecovery import bridge
from wfrecovery.bridge.engines.history import ABSENT, Place, Sighting
from wfrecovery.bridge.table.changes import followed_again
from wfrecovery.bridge.table.lives import Surroundings
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import QueuePlace
from wfrecovery.bridge.wording import Wording

ENDS = {
    Stage.FINISHED: DONE,
    Stage.FAILED: Sighting(Place.FAILED, message=Wording("a node raised", "节点报错")),
    Stage.CANCELLED: Sighting(Place.INTERRUPTED, message=Wording("interrupted", "被中断")),
}
ROWS = (2, 3, 4)


class Looked(Engine):
    """Counts the looks at its queue."""

    poll_seconds = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        #: of a prompt that is there it says so often that it is not
        self.denials: dict[str, int] = {}

    async def wait_for_completion(self, prompt_id: str, *, on_progress: Any = None) -> Sighting:
        while not self.denials.get(prompt_id):
            seen = await self.look_up(prompt_id)
            if seen.place not in (Place.WAITING, Place.RUNNING):
                return seen
            await asyncio.sleep(0.01)
        self.denials[prompt_id] -= 1
        return ABSENT

    async def prompts_in_queue(self) -> dict[str, Place]:
        self.looks += 1
        return await super().prompts_in_queue()

    async def look_again(self) -> None:
        """Returns when two looks are over that have begun after this call: each task has asked for one by the first."""
        enough = self.looks + 2 * len(self.known) + 1
        await until(lambda: self.looks >= enough)

    def take_out(self, prompts: Iterable[str]) -> None:
        """As a person does who clears the queue."""
        for prompt_id in prompts:
            del self.known[prompt_id]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def engine() -> Looked:
    return Looked()


def in_queue(db: bridge.DatabaseManager) -> int:
    stand = [not task.stage.final and task.queue is not None and task.sending is None for task in db.table.active()]
    return sum(stand)


def in_turn(db: bridge.DatabaseManager, engine: Engine) -> list[TaskRecord]:
    """The records, as their prompts have come to the engine."""
    return sorted(map(db.table.get, db.table.ids()), key=lambda task: engine.sent.index(task.comfyui_task_id or ""))


@pytest.mark.parametrize("end", ENDS)
def test_when_the_one_that_ran_has_ended_before(tmp_path: Path, engine: Looked, end: Stage) -> None:
    """Nothing of the batch is in ComfyUI's queue any more."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        batch = asyncio.gather(*[process_row(db, recovery, number) for number in ROWS])
        await until(lambda: in_queue(db) == len(ROWS))
        await engine.look_again()
        first, *others = engine.sent
        engine.known[first] = ENDS[end]
        await until(lambda: in_queue(db) == len(others))
        engine.take_out(others)
        await until(lambda: batch.done() or len(engine.sent) > len(ROWS))
        engine.end_all()
        await batch

    asyncio.run(story())
    ran, *others = in_turn(db, engine)
    assert ran.stage is end
    assert [(task.stage, task.attempts) for task in others] == [(Stage.CANCELLED, 0)] * 2
    assert len(engine.sent) == len(ROWS)


@pytest.mark.parametrize("late", range(len(ROWS)))
def test_what_is_taken_out_at_once_stays_away_however_late_an_answer_came(
    tmp_path: Path, engine: Looked, late: int
) -> None:
    """Before anybody has looked at the queue: by the order of their answers, which is that of the queue."""
    db, recovery = main_py(tmp_path, engine)
    engine.on_the_way = lambda prompt_id: asyncio.sleep(0.3 if engine.sent.index(prompt_id) == late else 0)

    async def story() -> None:
        batch = asyncio.gather(*[process_row(db, recovery, number) for number in ROWS])
        await until(lambda: in_queue(db) == len(ROWS))
        engine.take_out(set(engine.sent[1:]))
        await until(lambda: in_queue(db) == 1)
        engine.end_all()
        await batch

    asyncio.run(story())
    ran, *others = in_turn(db, engine)
    assert ran.stage is Stage.FINISHED
    assert [(task.stage, task.attempts) for task in others] == [(Stage.CANCELLED, 0)] * 2
    assert len(engine.sent) == len(ROWS)


@pytest.mark.parametrize("end", ENDS)
def test_what_went_down_after_another_had_ended_is_sent_again(tmp_path: Path, engine: Looked, end: Stage) -> None:
    """With what ComfyUI had in memory, its history too is gone; the oldest in its queue is counted."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        batch = asyncio.gather(*[process_row(db, recovery, number) for number in ROWS])
        await until(lambda: in_queue(db) == len(ROWS))
        engine.known[engine.sent[0]] = ENDS[end]
        await until(lambda: in_queue(db) == len(ROWS) - 1)
        await engine.look_again()
        engine.crash()
        await until(lambda: batch.done() or len(engine.sent) == len(ROWS) + 2)
        engine.end_all()
        await batch

    asyncio.run(story())
    ran, *others = in_turn(db, engine)
    assert ran.stage is end
    assert [(task.stage, task.attempts) for task in others] == [(Stage.FINISHED, 1), (Stage.FINISHED, 0)]


def sent_later(seconds: float, task: TaskRecord) -> TaskRecord:
    """As by a clock that was so much ahead."""
    assert task.queue is not None
    at = datetime.fromisoformat(task.queue.queued_at or "") + timedelta(seconds=seconds)
    return dataclasses.replace(task, queue=dataclasses.replace(task.queue, queued_at=at.isoformat()))


@pytest.mark.parametrize("set_back", [0, 3600])
def test_what_came_after_comfyui_was_back_says_nothing_of_what_was_lost(
    tmp_path: Path, engine: Looked, set_back: float
) -> None:
    """It is there now, and came later than the lost one was last seen, also where the clock was set back since; and can
    be taken out like any other."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        lost = asyncio.create_task(process_row(db, recovery, ROWS[0]))
        await until(lambda: in_queue(db) == 1)
        for task_id in list(db.table.ids()):
            db.table.update(task_id, partial(sent_later, set_back))
        await engine.look_again()
        engine.crash()
        batch = asyncio.gather(lost, *[process_row(db, recovery, number) for number in ROWS[1:]])
        await until(lambda: lost.done() or len(engine.sent) == len(ROWS) + 1)
        await until(lambda: lost.done() or in_queue(db) == len(ROWS))
        assert not lost.done()
        await engine.look_again()
        engine.take_out([engine.sent[1]])
        await until(lambda: in_queue(db) == len(ROWS) - 1 or len(engine.sent) > len(ROWS) + 1)
        engine.end_all()
        await batch

    asyncio.run(story())
    ends = {task.comfyui_task_id: task.stage for task in map(db.table.get, db.table.ids())}
    assert ends.pop(engine.sent[1]) is Stage.CANCELLED
    assert set(ends.values()) == {Stage.FINISHED}
    assert len(engine.sent) == len(ROWS) + 1


def test_what_a_person_has_sent_again_says_nothing_of_what_was_lost(tmp_path: Path, engine: Looked) -> None:
    """It had stood there with the others, and is known to the ComfyUI that came after, under the same id."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        batch = asyncio.gather(*[process_row(db, recovery, number) for number in ROWS])
        await until(lambda: in_queue(db) == len(ROWS))
        await engine.look_again()
        first = engine.sent[0]
        engine.known[first] = ENDS[Stage.FAILED]
        await until(lambda: in_queue(db) == len(ROWS) - 1)
        engine.crash()
        engine.known[first] = DONE
        (task,) = [task for task in map(db.table.get, db.table.ids()) if task.comfyui_task_id == first]
        db.table.update(task.task_id, partial(followed_again, task.revision))
        await until(lambda: batch.done() or len(engine.sent) == len(ROWS) + 2)
        engine.end_all()
        await batch

    asyncio.run(story())
    assert [task.stage for task in in_turn(db, engine)[1:]] == [Stage.FINISHED] * 2


def test_what_runs_cannot_have_been_taken_out(tmp_path: Path, engine: Looked) -> None:
    """It has ended, and somebody has emptied ComfyUI's history before that was seen: it is not cancelled."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        batch = asyncio.gather(*[process_row(db, recovery, number) for number in ROWS])
        await until(lambda: in_queue(db) == len(ROWS))
        engine.known[engine.sent[0]] = Sighting(Place.RUNNING)
        await until(lambda: any(task.stage is Stage.RUNNING for task in db.table.active()))
        await engine.look_again()
        del engine.known[engine.sent[0]]
        await until(lambda: len(engine.sent) > len(ROWS) or in_queue(db) < len(ROWS))
        await until(lambda: in_queue(db) == len(ROWS) or any(task.stage.final for task in in_turn(db, engine)))
        engine.end_all()
        await batch

    asyncio.run(story())
    assert [(task.stage, task.attempts) for task in in_turn(db, engine)] == [
        (Stage.FINISHED, 1),
        (Stage.FINISHED, 0),
        (Stage.FINISHED, 0),
    ]


@pytest.mark.parametrize("seen", [Sighting(Place.WAITING), DONE], ids=["waits", "has ended"])
@pytest.mark.parametrize(("rows", "denied"), [(1, 0), (3, 0), (3, 1), (3, 2)])
def test_what_is_there_again_at_a_last_look_was_not_taken_out(
    tmp_path: Path, engine: Looked, rows: int, denied: int, seen: Sighting
) -> None:
    """A proxy had answered in ComfyUI's place."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        batch = asyncio.gather(*[process_row(db, recovery, number) for number in range(2, 2 + rows)])
        await until(lambda: in_queue(db) == rows)
        await engine.look_again()
        prompt_id = engine.sent[denied]
        engine.denials[prompt_id] = 2
        engine.known[prompt_id] = seen
        await until(lambda: engine.denials[prompt_id] == 0)
        if seen.place is Place.WAITING:
            await engine.look_again()
            engine.end_all()
        await until(lambda: batch.done() or in_queue(db) == rows - 1 or len(engine.sent) > rows)
        engine.end_all()
        await batch

    asyncio.run(story())
    assert [(task.stage, task.attempts) for task in in_turn(db, engine)] == [(Stage.FINISHED, 0)] * rows
    assert len(engine.sent) == rows


def test_a_later_program_s_clock_proves_nothing(tmp_path: Path, engine: Looked) -> None:
    """Another `main.py`, whose clock is an hour behind, has sent a row since ComfyUI is back."""
    db, recovery = main_py(tmp_path, engine)
    their_db, their_recovery = main_py(tmp_path, engine, around=Surroundings(beats=False))

    async def story() -> None:
        lost = asyncio.create_task(process_row(db, recovery, ROWS[0]))
        await until(lambda: in_queue(db) == 1)
        task_id = next(iter(db.table.ids()))
        late = dataclasses.replace(
            db.table.get(task_id).queue or QueuePlace(), queued_at="2999-01-01T00:00:00.000+00:00"
        )
        db.table.update(task_id, lambda task: dataclasses.replace(task, queue=late))
        engine.crash()
        other = asyncio.create_task(process_row(their_db, their_recovery, ROWS[1]))
        await until(lambda: lost.done() or len(engine.sent) == 3)
        engine.end_all()
        await asyncio.gather(lost, other)

    asyncio.run(story())
    assert [task.stage for task in map(db.table.get, db.table.ids())] == [Stage.FINISHED] * 2
