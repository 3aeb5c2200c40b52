"""What a `main.py` is at work on, and what it is done with: returned, cancelled, interrupted, left for later.

The engine is in the test's own process: each step of it is the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, cast

import pytest
from engine_support import DONE, GRAPH, Engine, enter, hurry, main_py, process_row, recovered, until
from owner_processes import OwnerProcess
from PIL import Image

from wfrecovery import bridge
from wfrecovery.bridge.engines import in_use
from wfrecovery.bridge.engines.comfyui import ComfyUIUnreachableError, PromptRefusedError, sighting_of_record
from wfrecovery.bridge.engines.history import Place, ResultFile, Sighting
from wfrecovery.bridge.recovery import following
from wfrecovery.bridge.table.changes import started, wished_away
from wfrecovery.bridge.table.lives import Life, Surroundings
from wfrecovery.bridge.table.owners import OwnedError
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import Owner, OwnerKind, Result

STEPS = ["add", "submit", "finish", "wait"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def engine() -> Engine:
    return Engine()


# ------------------------------------------------------------------ a main.py with a menu


@pytest.mark.parametrize("same_manager", [True, False], ids=["one manager", "a new one"])
@pytest.mark.parametrize("rows", [3, 20])
@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_and_again(tmp_path: Path, engine: Engine, step: str, rows: int, same_manager: bool) -> None:
    """The loop ends, the process goes on: back in the menu, recovery takes up what was begun, and nothing twice."""
    db, recovery = main_py(tmp_path, engine)
    stopped = asyncio.Event()

    async def row(number: int) -> None:
        task_id = enter(db, number)
        if step == "add":
            stopped.set()
            await asyncio.sleep(600)
        if step == "submit":
            engine.on_the_way = lambda _: asyncio.sleep(600)
        await recovery.submit(task_id, GRAPH)
        await recovery.finish(task_id)

    def are_on_their_way() -> bool:
        """With their graphs on disk: what is stopped before that is free. All but the first wait for its answer."""
        sent = 1 if step == "submit" else rows
        return len(engine.sent) == sent and all(map(db.table.graph, db.table.ids()))

    async def batch() -> None:
        tasks = [asyncio.create_task(row(number)) for number in range(2, 2 + rows)]
        await until(lambda: stopped.is_set() if step == "add" else are_on_their_way())
        if step == "wait":
            await recovery.check_and_recover_tasks()
            await asyncio.sleep(0.05)
        raise KeyboardInterrupt
        await asyncio.gather(*tasks)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(batch())
    engine.on_the_way = lambda _: None
    engine.end_all()
    sent = list(engine.sent)
    before = db  # it lives on in the menu
    if not same_manager:
        db, recovery = main_py(tmp_path, engine)
    ended = asyncio.run(recovered(recovery))
    assert not db.get_incomplete_tasks()
    assert engine.sent[: len(sent)] == sent
    assert len(set(engine.sent)) == len(engine.sent) == (0 if step == "add" else rows)
    assert len(ended) == rows
    if step != "add":
        assert {task["status"] for task in ended} == {"已完成"}

    async def again() -> list[dict[str, Any]]:
        return await asyncio.gather(*[process_row(db, recovery, number) for number in range(100, 100 + rows)])

    assert {task["status"] for task in asyncio.run(again())} == {"已完成"}
    assert before.owners.me


def test_who_is_stopped_while_he_waits_for_his_turn_has_used_no_render(tmp_path: Path, engine: Engine) -> None:
    """Two may be sent: the first one's answer is late, the second is stopped before it was sent, the third may."""
    db, _ = main_py(tmp_path, engine)
    settings = dataclasses.replace(bridge.load_settings(environ={}), max_renders=2)
    recovery = bridge.TaskRecoveryManager(db, engine, settings=settings)
    first, second, third = (enter(db, number) for number in (2, 3, 4))
    answered = asyncio.Event()
    engine.on_the_way = lambda _: answered.wait()

    async def story() -> None:
        sending = asyncio.create_task(recovery.submit(first, GRAPH))
        await until(lambda: len(engine.sent) == 1)
        waiting = asyncio.create_task(recovery.submit(second, GRAPH))
        await asyncio.sleep(0.3)
        waiting.cancel()
        await asyncio.wait({waiting})
        answered.set()
        await sending
        await recovery.submit(third, GRAPH)

    asyncio.run(story())
    assert len(engine.sent) == 2


def test_who_is_overtaken_while_he_waits_for_his_turn_has_used_no_render(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two were lost, and one may be sent: somebody else has sent the first just before, so it is the second."""
    db, recovery = main_py(tmp_path, engine)
    tasks = [enter(db, number) for number in (2, 3)]

    async def lost() -> None:
        for task_id in tasks:
            await recovery.submit(task_id, GRAPH)

    asyncio.run(lost())
    first, second = (db.table.get(task_id).comfyui_task_id or "" for task_id in tasks)
    engine.crash()
    sent = len(engine.sent)
    engine.at_first = DONE
    is_nowhere = following.is_nowhere

    async def overtaken(engine_in_use: Any, task: TaskRecord, *known: Any) -> bool:
        if task.comfyui_task_id == first:
            engine.known[first] = DONE
        return task.comfyui_task_id != first and await is_nowhere(engine_in_use, task, *known)

    monkeypatch.setattr(following, "is_nowhere", overtaken)
    settings = dataclasses.replace(bridge.load_settings(environ={}), max_renders=1)
    db, _ = main_py(tmp_path, engine)
    ended = asyncio.run(recovered(bridge.TaskRecoveryManager(db, engine, settings=settings)))
    assert engine.sent[sent:] == [second]
    assert {task["task_id"]: task["status"] for task in ended} == dict.fromkeys(tasks, "已完成")


def test_what_ended_meanwhile_is_nobody_s_any_more(tmp_path: Path, engine: Engine) -> None:
    """Followed, interrupted, ended by another program; then the menu again, with the same manager."""
    db, recovery = main_py(tmp_path, engine)
    task_id = enter(db, 2)

    async def begin() -> None:
        await recovery.submit(task_id, GRAPH)
        await recovery.check_and_recover_tasks()
        await until(lambda: db.table.get(task_id).stage is Stage.QUEUED)
        raise KeyboardInterrupt

    async def follow() -> None:
        await recovery.check_and_recover_tasks()
        await asyncio.sleep(0.05)
        raise KeyboardInterrupt

    for part in (begin, follow):
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(part())
    _, their_recovery = main_py(tmp_path, engine)
    engine.end_all()
    assert [task["task_id"] for task in asyncio.run(recovered(their_recovery))] == [task_id]
    assert asyncio.run(recovered(recovery)) == []
    assert asyncio.run(recovery.finish(task_id))["status"] == "已完成"


# ------------------------------------------------------------------ recovery while a batch runs


def test_recovery_while_a_row_is_between_its_entry_and_its_submission(tmp_path: Path, engine: Engine) -> None:
    """By the same program, as one that recovers every few minutes; and by another one in the same process."""
    db, recovery = main_py(tmp_path, engine)
    _, other = main_py(tmp_path, engine)

    async def story() -> None:
        uploaded = asyncio.Event()

        async def row() -> dict[str, Any]:
            task_id = enter(db, 2)
            await uploaded.wait()
            await recovery.submit(task_id, GRAPH)
            return await recovery.finish(task_id)

        task = asyncio.create_task(row())
        await until(db.get_incomplete_tasks)
        assert await recovered(other) == []
        assert await recovered(recovery) == []
        uploaded.set()
        await until(lambda: engine.sent)
        assert await recovery.check_and_recover_tasks() == []
        assert await recovery.check_and_recover_tasks() == []
        engine.end_all()
        assert (await task)["status"] == "已完成"
        assert await recovery.wait_until_done() == []

    asyncio.run(story())
    assert len(engine.sent) == 1


def test_what_could_not_be_read_at_the_start_is_recovered_later(
    tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a network drive that was away for a moment."""
    begun, submitting = main_py(tmp_path, engine)
    task_id = enter(begun, 2)
    asyncio.run(submitting.submit(task_id, GRAPH))
    begun.owners.close()
    engine.end_all()
    _, recovery = main_py(tmp_path, engine)
    read, errors = recovery._follow.read, [OSError(errno.EIO, "Input/output error")]

    async def away_at_first(wanted: str) -> TaskRecord:
        if errors:
            raise errors.pop()
        return await read(wanted)

    recovery._follow.read = away_at_first  # type: ignore[method-assign]
    assert [task["task_id"] for task in asyncio.run(recovered(recovery))] == [task_id]
    assert "could not be recovered now" in caplog.text
    assert len(engine.sent) == 1


def test_what_could_not_be_fetched_in_one_call_is_fetched_in_the_next(tmp_path: Path, engine: Engine) -> None:
    """It is tried a few times within a call, which ends; the run goes on."""
    begun, submitting = main_py(tmp_path, engine)
    task_id = enter(begun, 2)
    asyncio.run(submitting.submit(task_id, GRAPH))
    begun.owners.close()
    _, recovery = main_py(tmp_path, engine)
    download, away = engine.download, [True]

    async def fetch(file: Any, target: Path) -> None:
        if away:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        await download(file, target)

    engine.download = fetch  # type: ignore[method-assign]

    async def story() -> list[dict[str, Any]]:
        await recovery.check_and_recover_tasks()
        engine.end_all()
        assert await recovery.wait_until_done() == []
        assert await recovery.wait_until_done() == []
        away.clear()
        return await recovery.wait_until_done()

    assert [task["task_id"] for task in asyncio.run(story())] == [task_id]
    assert len(engine.sent) == 1


def test_what_comfyui_renders_for_a_batch_of_which_nobody_knows_yet_whether_it_lives(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where locks prove nothing, one that was killed is known to be dead after a while; its results are this run's."""
    plugin = bridge.DatabaseManager(tmp_path, kind=OwnerKind.COMFYUI)
    task_id = enter(plugin, 2)
    batch = plugin.table.update(
        task_id, lambda task: dataclasses.replace(task.entering(Stage.QUEUED, comfyui_task_id="p"), batch="ab" * 16)
    ).batch
    db, recovery = main_py(tmp_path, engine)
    lives, known = iter([Life.DOUBT] * 5), db.owners.life
    monkeypatch.setattr(
        db.owners, "life", lambda owner: next(lives, Life.DEAD) if owner.boot == batch else known(owner)
    )

    async def story() -> list[dict[str, Any]]:
        assert await recovery.check_and_recover_tasks() == []
        waiting = asyncio.create_task(recovery.wait_until_done())
        Image.new("RGB", (4, 4)).save(tmp_path / "made.png")
        await asyncio.to_thread(plugin.complete_task, task_id, ["made.png"])
        return await waiting

    assert [task["task_id"] for task in asyncio.run(story())] == [task_id]
    assert engine.sent == []


def test_recovery_twice_follows_once(tmp_path: Path, engine: Engine) -> None:
    """ComfyUI goes down then: it is queued again by one of them."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        for number in (2, 3):
            await recovery.submit(enter(db, number), GRAPH)
        await recovery.check_and_recover_tasks()
        await recovery.check_and_recover_tasks()
        engine.crash()
        await until(lambda: len(engine.sent) >= 4)
        engine.end_all()
        assert len(await recovery.wait_until_done()) == 2

    asyncio.run(story())
    assert len(engine.sent) == 4


def test_who_catches_his_own_trouble_recovers_what_he_had_begun(tmp_path: Path, engine: Engine) -> None:
    """All in one loop, and in one task of it."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        enter(db, 2)
        await recovery.submit(enter(db, 3), GRAPH)
        engine.end_all()
        ended = await recovered(recovery)
        assert [task["status"] for task in ended] == ["失败", "已完成"]

    asyncio.run(story())


def test_a_row_that_is_cancelled_by_itself(tmp_path: Path, engine: Engine) -> None:
    """Another takes it up in the same process, and in another; the rows beside it go on."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        rows = {number: asyncio.create_task(process_row(db, recovery, number)) for number in (2, 3, 4)}
        await until(lambda: len(engine.sent) == 3 and all(db.table.get(x).owner for x in db.table.ids()))
        rows[3].cancel()
        await asyncio.wait({rows[3]})
        (task,) = [task for task in db.table.active() if task.row_number == 3]
        await until(lambda: db.table.get(task.task_id).owner is None)
        engine.end_all()
        _, other = main_py(tmp_path, engine)
        assert [task["row_number"] for task in await recovered(other)] == [3]
        assert {(await row)["status"] for number, row in rows.items() if number != 3} == {"已完成"}

    asyncio.run(story())
    assert len(engine.sent) == 3


# ------------------------------------------------------------------ let go of


def test_what_is_left_for_later_is_let_go_of(tmp_path: Path, engine: Engine) -> None:
    """ComfyUI does not answer. Whoever shares the table takes it as soon as it does, though this main.py lives on."""
    db, recovery = main_py(tmp_path, engine)
    asyncio.run(submitted(db, recovery, 2))
    _, second = main_py(tmp_path, engine)
    engine.reachable = False
    assert asyncio.run(recovered(second)) == []
    (task,) = db.table.active()
    assert task.owner is None
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(recovery.finish(task.task_id), 0.1))
    assert db.table.get(task.task_id).owner is None, "who is cancelled lets go"


async def submitted(db: bridge.DatabaseManager, recovery: bridge.TaskRecoveryManager, number: int) -> str:
    task_id = enter(db, number)
    await recovery.submit(task_id, GRAPH)
    return task_id


def test_what_cannot_be_fetched_is_let_go_of(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine, "download", no_disk)
    db, recovery = main_py(tmp_path, engine)
    engine.at_first = DONE
    ended = asyncio.run(process_row(db, recovery, 2))
    assert (ended["status"], ended["metadata"].get("owner")) == ("在处理中", None)


# ------------------------------------------------------------------ somebody else's


def taken_by_another(task: Any) -> Any:
    """As a person's wish has it, or because this process was silent for too long."""
    return dataclasses.replace(task, owner=Owner(OwnerKind.MAIN, "f" * 32))


@pytest.mark.parametrize("end", [DONE, Sighting(Place.FAILED), Sighting(Place.ABSENT)], ids=lambda end: end.place.value)
def test_the_late_end_of_who_was_given_up_changes_nothing(tmp_path: Path, engine: Engine, end: Sighting) -> None:
    """Its owner's beat is young: nobody but that one writes."""
    db, recovery = main_py(tmp_path, engine)
    beat = db.owners.folder / f"{'f' * 32}.json"

    async def story() -> None:
        task_id = await submitted(db, recovery, 2)
        row = asyncio.create_task(recovery.finish(task_id))
        await asyncio.sleep(0.05)
        beat.write_bytes(b"{}")
        theirs = db.table.update(task_id, taken_by_another)
        engine.end_all(end)
        await asyncio.sleep(0.3)
        assert db.table.get(task_id) == theirs
        db.table.update(task_id, lambda task: task.entering(Stage.CANCELLED))
        assert (await row)["status"] == "失败"

    asyncio.run(story())
    assert len(engine.sent) == 1


@pytest.mark.parametrize("answer", ["accepted", "refused"])
def test_the_late_answer_to_who_was_given_up_changes_nothing(tmp_path: Path, engine: Engine, answer: str) -> None:
    """Its request was long on its way, and the engine gives prompts ids of its own."""
    db, recovery = main_py(tmp_path, engine)
    engine.own_ids = True

    async def taken(_: str) -> None:
        (task,) = db.table.active()
        (db.owners.folder / f"{'f' * 32}.json").write_bytes(b"{}")
        theirs.append(
            db.table.update(
                task.task_id, lambda task: dataclasses.replace(taken_by_another(task), comfyui_task_id="theirs")
            )
        )
        if answer == "refused":
            raise PromptRefusedError("no such node")

    theirs: list[Any] = []
    engine.on_the_way = taken
    asyncio.run(submitted(db, recovery, 2))
    assert list(db.table.active()) == theirs


def test_who_may_not_submit_leaves_no_graph(tmp_path: Path, engine: Engine) -> None:
    """Two programs have entered the same row: the second gets the first one's task, and not to submit it."""
    db, recovery = main_py(tmp_path, engine)
    other, their_recovery = main_py(tmp_path, engine)

    async def story() -> None:
        entered, uploaded = asyncio.Event(), asyncio.Event()

        async def first() -> dict[str, Any]:
            task_id = enter(db, 2)
            entered.set()
            await uploaded.wait()
            await recovery.submit(task_id, GRAPH)
            return await recovery.finish(task_id)

        row = asyncio.create_task(first())
        await entered.wait()
        task_id = enter(other, 2)
        with pytest.raises(OwnedError, match="is at work on it"):
            await their_recovery.submit(task_id, {"theirs": {}})
        assert db.table.graph(task_id) is None
        uploaded.set()
        await until(lambda: engine.sent)
        engine.end_all()
        assert (await row)["status"] == "已完成"
        assert db.table.graph(task_id)["prompt"] == GRAPH

    asyncio.run(story())
    assert len(engine.sent) == 1


@pytest.mark.parametrize("stage", ["created", "submitted"])
def test_what_another_engine_renders_is_left_alone_and_said_so(
    tmp_path: Path, engine: Engine, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "wfrecovery")
    cloud = Engine("runninghub:team")
    db, recovery = main_py(tmp_path, cloud)
    task_id = asyncio.run(submitted(db, recovery, 2))
    if stage == "created":
        db.table.update(task_id, lambda task: dataclasses.replace(task, stage=Stage.CREATED, owner=None))
    before = db.table.get(task_id)
    _, other = main_py(tmp_path, engine)
    assert asyncio.run(recovered(other)) == []
    assert db.table.get(task_id) == before
    assert "runninghub:team renders it" in caplog.text
    cloud.end_all()
    assert [task["task_id"] for task in asyncio.run(recovered(main_py(tmp_path, cloud)[1]))] == [task_id]
    assert (engine.sent, len(cloud.sent)) == ([], 1)


# ------------------------------------------------------------------ a person's wish


def test_what_is_cancelled_while_it_is_followed_is_stopped_in_comfyui(tmp_path: Path, engine: Engine) -> None:
    db, recovery = main_py(tmp_path, engine)

    async def story() -> dict[str, Any]:
        task_id = await submitted(db, recovery, 2)
        row = asyncio.create_task(recovery.finish(task_id))
        await asyncio.sleep(0.05)
        main_py(tmp_path, engine)[0].table.update(task_id, wished_away)
        return await asyncio.wait_for(row, 60)

    ended = asyncio.run(story())
    assert (ended["metadata"]["stage"], ended["metadata"]["feishu"]["state"]) == ("cancelled", "off")
    assert engine.cancelled == engine.sent
    assert asyncio.run(recovered(recovery)) == []


@pytest.mark.parametrize("followed", [True, False])
def test_what_is_whole_before_it_is_stopped_is_finished(tmp_path: Path, engine: Engine, *, followed: bool) -> None:
    """Its last node hears nothing: the interruption is taken, and the picture is there."""
    db, recovery = main_py(tmp_path, engine)

    async def too_late(prompt_id: str) -> None:
        engine.known[prompt_id] = DONE

    engine.cancel = too_late  # type: ignore[method-assign]

    task_id = asyncio.run(submitted(db, recovery, 2))
    db.table.update(task_id, wished_away)
    asyncio.run(recovery.finish(task_id) if followed else recovered(main_py(tmp_path, engine)[1]))
    task = db.table.get(task_id)
    assert (task.stage, len(task.results), len(engine.sent)) == (Stage.FINISHED, 1, 1)


@pytest.mark.parametrize("end", [DONE, Sighting(Place.INTERRUPTED)], ids=["whole", "interrupted"])
@pytest.mark.parametrize("followed", [True, False])
def test_a_node_that_hears_nothing_for_long(tmp_path: Path, engine: Engine, *, followed: bool, end: Sighting) -> None:
    """It is interrupted again until it has ended, and the task is then what it has become, as with the plugin."""
    db, recovery = main_py(tmp_path, engine)

    async def hears_nothing(prompt_id: str) -> bool:
        engine.cancelled.append(prompt_id)
        engine.known[prompt_id] = end if len(engine.cancelled) == 3 else Sighting(Place.RUNNING)
        return False

    engine.cancel = hears_nothing  # type: ignore[assignment, method-assign]
    task_id = asyncio.run(submitted(db, recovery, 2))
    db.table.update(task_id, wished_away)
    asyncio.run(recovery.finish(task_id) if followed else recovered(main_py(tmp_path, engine)[1]))
    assert db.table.get(task_id).stage is (Stage.FINISHED if end == DONE else Stage.CANCELLED)
    assert len(engine.cancelled) == 3


def test_what_is_cancelled_before_it_is_submitted_is_never_sent(tmp_path: Path, engine: Engine) -> None:
    db, recovery = main_py(tmp_path, engine)
    task_id = enter(db, 2)
    db.table.update(task_id, wished_away)
    assert asyncio.run(recovery.submit(task_id, GRAPH)) is None
    assert asyncio.run(recovery.finish(task_id))["metadata"]["stage"] == "cancelled"
    assert engine.sent == []


def test_what_is_cancelled_while_comfyui_is_down_is_not_queued_again(tmp_path: Path, engine: Engine) -> None:
    db, recovery = main_py(tmp_path, engine)
    task_id = asyncio.run(submitted(db, recovery, 2))
    db.table.update(task_id, wished_away)
    engine.crash()
    (ended,) = asyncio.run(recovered(main_py(tmp_path, engine)[1]))
    assert ended["metadata"]["stage"] == "cancelled"
    assert len(engine.sent) == 1


# ------------------------------------------------------------------ whose fault a loss is


@pytest.mark.parametrize(
    ("computer", "kernel", "attempts"), [("ours", "another", 0), ("ours", "ours", 1), ("another", "another", 1)]
)
@pytest.mark.parametrize("seen", ["waiting", "running"])
def test_what_was_lost_with_the_power_does_not_count(
    tmp_path: Path, engine: Engine, computer: str, kernel: str, attempts: int, seen: str
) -> None:
    around = Surroundings(kernel=lambda: kernel, beats=False, computer=lambda: computer)
    db, recovery = main_py(tmp_path, engine, around=around)
    task_id = asyncio.run(submitted(db, recovery, 2))
    if seen == "running":
        db.table.update(task_id, started)
    db.owners.close()
    engine.crash()
    clock = iter(range(0, 10_000, 10))
    ours = Surroundings(
        clock=lambda: float(next(clock)),
        kernel=lambda: "ours",
        locks_hold=lambda _: True,
        beats=False,
        computer=lambda: "ours",
    )
    db, recovery = main_py(tmp_path, engine, around=ours)
    engine.at_first = DONE
    (ended,) = asyncio.run(recovered(recovery))
    assert (ended["status"], ended["metadata"]["attempts"]) == ("已完成", attempts)


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_how_often_is_a_setting(tmp_path: Path, engine: Engine, allowed: int) -> None:
    """`main.py` dies each time as well; `WFRECOVERY_MAX_ATTEMPTS` counts starts, as in the plugin."""
    settings = bridge.load_settings(environ={"WFRECOVERY_MAX_ATTEMPTS": str(allowed)})
    db, recovery = main_py(tmp_path, engine)
    task_id = asyncio.run(submitted(db, recovery, 2))
    for _ in range(allowed - 1):
        engine.crash()
        recovery = bridge.TaskRecoveryManager(bridge.DatabaseManager(tmp_path), engine, settings=settings)
        assert asyncio.run(recovery.check_and_recover_tasks()) == []
    engine.crash()
    db.owners.close()
    recovery = bridge.TaskRecoveryManager(bridge.DatabaseManager(tmp_path), engine, settings=settings)
    (ended,) = asyncio.run(recovered(recovery))
    assert (ended["task_id"], ended["status"], ended["metadata"]["attempts"]) == (task_id, "失败", allowed)
    assert len(engine.sent) == allowed


def test_a_prompt_that_somebody_takes_out_of_the_queue_is_cancelled_and_nobody_s_fault(
    tmp_path: Path, engine: Engine
) -> None:
    db, recovery = main_py(tmp_path, engine)

    async def story() -> list[dict[str, Any]]:
        rows = [asyncio.create_task(process_row(db, recovery, number)) for number in (2, 3, 4)]
        await until(lambda: len(engine.sent) == 3)
        await until(lambda: all(task.queue for task in db.table.active()))
        del engine.known[engine.sent[2]]
        await until(lambda: len(list(db.table.active())) == 2)
        engine.end_all()
        return await asyncio.gather(*rows)

    ended = sorted((task["metadata"]["stage"], task["metadata"]["attempts"]) for task in asyncio.run(story()))
    assert ended == [("cancelled", 0), ("finished", 0), ("finished", 0)]
    assert len(engine.sent) == 3


# ------------------------------------------------------------------ a table that cannot be written for a while


def holder_of(folder: Path) -> subprocess.Popen[bytes]:
    """A process that holds the table's lock until it is killed."""
    program = Path(__file__).parents[1] / "table" / "table_processes.py"
    env = {**os.environ, "PYTHONPATH": str(program.parent)}
    command = [sys.executable, program, "hold", folder]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)


def test_a_row_ends_while_somebody_stands_still_with_the_table_s_lock(
    tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    db, recovery = main_py(tmp_path, engine, lock_timeout=0.2)

    async def story() -> dict[str, Any]:
        task_id = await submitted(db, recovery, 2)
        row = asyncio.create_task(recovery.finish(task_id))
        await asyncio.sleep(0.05)
        process = holder_of(tmp_path)
        with process:
            try:
                assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
                process.send_signal(signal.SIGSTOP)
                engine.end_all()
                await until(lambda: "cannot be written yet" in caplog.text)
                assert db.table.get(task_id).stage is Stage.QUEUED
            finally:
                process.kill()
        return await asyncio.wait_for(row, 60)

    assert asyncio.run(story())["status"] == "已完成"
    assert len(engine.sent) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_row_ends_while_the_disk_is_full(tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs: {mounted.stderr.decode()}")
    try:
        db, recovery = main_py(small, engine)

        async def story() -> dict[str, Any]:
            task_id = await submitted(db, recovery, 2)
            row = asyncio.create_task(recovery.finish(task_id))
            await asyncio.sleep(0.05)
            filler = small / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            engine.end_all()
            await until(lambda: "tried again" in caplog.text)
            assert db.table.get(task_id).stage is Stage.QUEUED
            filler.unlink()
            return await asyncio.wait_for(row, 60)

        assert asyncio.run(story())["status"] == "已完成"
        assert len(engine.sent) == 1
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_the_plugin_comes_to_a_comfyui_that_had_rows_of_ours(tmp_path: Path, engine: Engine) -> None:
    """In the folder that `main.py` uses: what that had sent before, the plugin has never heard of."""
    db, recovery = main_py(tmp_path, engine)
    asyncio.run(submitted(db, recovery, 2))
    db.owners.close()
    engine.crash()
    told = {"table_id": db.table.keep_table_id()}
    engine.plugin_status = lambda: told  # type: ignore[method-assign]
    engine.at_first = DONE
    [ended] = asyncio.run(asyncio.wait_for(recovered(main_py(tmp_path, engine)[1]), 60))
    assert (ended["status"], len(engine.sent)) == ("已完成", 2)


def test_main_py_works_in_a_copy_of_the_folder_of_a_comfyui(tmp_path: Path, engine: Engine) -> None:
    """The copy has the table's id, and tasks that ComfyUI brings to their end in its own folder alone."""
    seconds = itertools.count(step=10.0)
    around = Surroundings(lambda: next(seconds), lambda: "here", lambda _: True)
    with OwnerProcess(tmp_path / "its own") as comfyui:
        beside = bridge.DatabaseManager(tmp_path / "its own", around=around)
        task_id, prompt_id = enter(beside, 2), str(uuid.uuid4())
        queued = {"stage": Stage.QUEUED, "engine": "comfyui", "comfyui_task_id": prompt_id, "batch": None}
        owner = Owner(OwnerKind.COMFYUI, comfyui.boot)
        beside.table.update(task_id, lambda task: dataclasses.replace(task, owner=owner, **queued))
        told = {"table_id": beside.table.keep_table_id(), "owner": comfyui.boot}
        shutil.copytree(tmp_path / "its own", tmp_path / "copy")
        engine.plugin_status = lambda: told  # type: ignore[method-assign]
        engine.known[prompt_id] = DONE
        db, recovery = main_py(tmp_path / "copy", engine, around=around)
        [ended] = asyncio.run(asyncio.wait_for(recovered(recovery), 60))
        assert (ended["status"], engine.sent) == ("已完成", [])
        assert not db.is_shared_with(told)
        assert all(beside.is_shared_with(told) for _ in range(20))


def test_what_the_plugin_does_not_list_is_missing_from_main_s_record_as_well(tmp_path: Path, engine: Engine) -> None:
    """Of thousands of files a record lists the first: what is fetched is not taken for all of them."""
    db, recovery = main_py(tmp_path, engine)
    plugins = TaskRecord("img_20261123_001", stage=Stage.FINISHED, results=(Result("r.png"),), unlisted=7)
    engine.at_first = sighting_of_record(plugins)
    task_id = asyncio.run(submitted(db, recovery, 2))
    told = asyncio.run(recovery.finish(task_id))
    assert (len(told["output_files"]), told["metadata"]["unlisted"]) == (1, 7)


@pytest.mark.parametrize("by_number", [True, False], ids=["a client of its own", "the plugin"])
@pytest.mark.parametrize("turned", [True, False])
def test_main_py_delivers_what_the_row_s_saver_made(
    tmp_path: Path, engine: Engine, by_number: bool, turned: bool
) -> None:
    """In whatever order the files are told: by the plugin's record, or by a client that names nodes by numbers."""
    widgets = {"row_number": 2, "product_name": "产品2", "model_name": "模特", "workflow_type": "图片合成"}
    graph = {
        "5": {"class_type": "WfrecoveryRowTask", "inputs": widgets},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": ["5", 1]}},
        "20": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "mask"}},
    }
    results = [Result("own.png", node="9"), Result("mask.png", node="20")][:: -1 if turned else 1]
    by_client = tuple(ResultFile(result.path, node=cast(Any, int(result.node or 0))) for result in results)
    plugins = sighting_of_record(TaskRecord("img_20261123_001", stage=Stage.FINISHED, results=tuple(results)))
    engine.at_first = Sighting(Place.SUCCEEDED, by_client) if by_number else plugins
    fetched: dict[str, Path] = {}

    async def download(file: ResultFile, target: Path) -> None:
        fetched[file.filename] = target
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(target)

    engine.download = download  # type: ignore[method-assign]
    db, recovery = main_py(tmp_path, engine)

    async def story() -> dict[str, Any]:
        task_id = enter(db, 2)
        await recovery.submit(task_id, graph)
        return await recovery.finish(task_id)

    told = asyncio.run(story())
    assert told["status"] == "已完成"
    assert tmp_path / told["metadata"]["feishu"]["file"] == fetched["own.png"]


def test_what_a_comfyui_has_said_before_it_went_down_is_not_believed(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row was sent a moment before, so that its plugin was asked just then: what that has is its own all the same.
    Taken by `main.py`, some rows came back behind those that the plugin had queued again."""
    monkeypatch.setattr(in_use, "FRESH_SECONDS", 600.0)
    seconds, asked_again = itertools.count(step=10.0), list[bool]()
    around = Surroundings(lambda: next(seconds), lambda: "here", lambda _: True)

    def silent() -> None:
        asked_again.append(True)
        raise ComfyUIUnreachableError("no answer")

    with OwnerProcess(tmp_path) as comfyui:
        db, recovery = main_py(tmp_path, engine, around=around)
        owner = Owner(OwnerKind.COMFYUI, comfyui.boot)
        told = {"table_id": db.table.keep_table_id(), "owner": comfyui.boot}
        engine.plugin_status = lambda: told  # type: ignore[method-assign]

        async def story() -> Owner | None:
            await recovery.submit(enter(db, 2), GRAPH)
            task_id = enter(db, 3)
            queued = {"stage": Stage.QUEUED, "engine": "comfyui", "comfyui_task_id": str(uuid.uuid4())}
            db.table.update(task_id, lambda task: dataclasses.replace(task, owner=owner, batch=None, **queued))
            comfyui.kill()
            engine.reachable, engine.plugin_status = False, silent  # type: ignore[method-assign]
            following_it = asyncio.create_task(recovery.finish(task_id))
            await until(lambda: asked_again or db.table.get(task_id).owner != owner)
            found = db.table.get(task_id).owner
            following_it.cancel()
            await asyncio.wait({following_it})
            return found

        assert asyncio.run(story()) == owner
