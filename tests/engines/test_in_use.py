"""An engine that hangs, in whichever manner, costs seconds once; and what its author writes may be odd."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cloud_support import Office, Scripted, hurry, row

from wfrecovery import bridge
from wfrecovery.bridge.engines import calling, in_use
from wfrecovery.bridge.engines.history import UNKNOWN
from wfrecovery.bridge.engines.in_use import EngineInUse
from wfrecovery.bridge.recovery import submitting
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.records import Stage

TASKS = 200


def sent_tasks(folder: Path, engine: str = "theirs") -> bridge.DatabaseManager:
    """What a former run has sent and not seen the end of."""
    db = bridge.DatabaseManager(folder)
    for number in range(TASKS):
        fields = {"row_number": number + 2, "workflow_type": "图片合成", "engine": engine}
        task_id = db.table.claim_id("图片合成")
        db.table.create(new_task(task_id, Stage.QUEUED, comfyui_task_id=str(number), **fields))
    return db


class Silent(bridge.Engine):
    """Is asked, and does not answer."""

    engine = "theirs"

    def __init__(self, silence: Callable[[], Any]) -> None:
        self.silence, self.asked = silence, 0

    def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
        raise AssertionError("nothing is to be sent")

    def look_up(self, job_id: str) -> Any:
        self.asked += 1
        return self.silence()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def impatient(_hurried: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """We wait for a moment only, where nothing answers; whatever hangs ends with the test."""
    monkeypatch.setattr(in_use, "ASK_SECONDS", 0.3)
    over = threading.Event()
    yield over
    over.set()


def in_time(story: Callable[[], Any]) -> None:
    """To its end, which a thread that hangs must not keep."""
    thread = threading.Thread(target=story, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()


def test_one_that_hangs_is_asked_once_and_keeps_no_program(impatient: threading.Event, tmp_path: Path) -> None:
    db = sent_tasks(tmp_path)
    engine = Silent(impatient.wait)
    recovery = bridge.TaskRecoveryManager(db, engine, settings=bridge.Settings())
    in_time(lambda: asyncio.run(recovery.check_and_recover_tasks()))
    assert engine.asked == 1
    assert len(db.get_incomplete_tasks()) == TASKS


@pytest.mark.parametrize(
    ("name", "title"), [("comfyui:http://h:1", "ComfyUI"), ("runninghub:ab12", "RunningHub"), ("theirs", "theirs")]
)
def test_people_hear_of_who_renders(name: str, title: str) -> None:
    client = Silent(gives_up)
    client.engine = name
    assert EngineInUse(client).title == title


def gives_up() -> None:
    time.sleep(0.1)
    raise TimeoutError("read timed out")


def runs() -> bridge.Sighting:
    return bridge.Sighting(bridge.Place.RUNNING)


def refuses_to_say() -> bridge.Sighting:
    time.sleep(0.1)
    return UNKNOWN


@pytest.mark.parametrize("silence", [gives_up, refuses_to_say])
def test_a_client_with_less_patience_than_ours_is_not_asked_for_each_task(
    silence: Callable[[], Any], impatient: threading.Event, tmp_path: Path
) -> None:
    db = sent_tasks(tmp_path)
    engine = Silent(silence)
    recovery = bridge.TaskRecoveryManager(db, engine, settings=bridge.Settings())
    asyncio.run(recovery.check_and_recover_tasks())
    assert engine.asked <= 4
    assert len(db.get_incomplete_tasks()) == TASKS


def test_after_a_while_it_is_asked_again(impatient: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    is_back = threading.Event()
    engine = Silent(lambda: runs() if is_back.is_set() else gives_up())
    used = EngineInUse(engine)

    async def story() -> bridge.Place:
        clock = asyncio.get_running_loop().time
        assert {(await used.look_up("7")).place for _ in range(20)} == {bridge.Place.UNKNOWN}
        assert clock() < used._away_until <= clock() + in_use.HANGS_SECONDS
        is_back.set()
        monkeypatch.setattr(in_use, "ASK_SECONDS", 120.0)
        used._away_until = clock()  # as if that time had passed
        return (await used.look_up("7")).place

    assert asyncio.run(story()) is bridge.Place.RUNNING
    assert engine.asked <= 4


def test_answers_in_between_make_it_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All the silence together is longer than we wait; each for itself, and how slow a machine is, far less."""
    monkeypatch.setattr(in_use, "ASK_SECONDS", 3.0)

    def gives_up_late() -> None:
        time.sleep(0.3)
        raise TimeoutError("read timed out")

    turns = iter([gives_up_late, runs] * 12)

    def next_turn() -> Any:
        return next(turns)()

    engine = Silent(next_turn)

    async def story() -> list[bridge.Place]:
        used = EngineInUse(engine)
        return [(await used.look_up("7")).place for _ in range(24)]

    assert asyncio.run(story()) == [bridge.Place.UNKNOWN, bridge.Place.RUNNING] * 12


def test_eight_that_wait_leave_room_for_the_table(impatient: threading.Event, tmp_path: Path) -> None:
    """A plain client's calls last as long as they last: what is written meanwhile does not queue behind them."""
    used = EngineInUse(Silent(impatient.wait))

    async def story() -> None:
        asking = [asyncio.create_task(calling.called(used.client.look_up, "7")) for _ in range(64)]
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 60)
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()

    in_time(lambda: asyncio.run(story()))


@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration(), SystemExit(3), asyncio.CancelledError()])
def test_whatever_a_client_raises_comes_to_an_end(error: BaseException) -> None:
    def raises() -> None:
        raise error

    async def story() -> Any:
        return await asyncio.wait_for(calling.called(raises), 60)

    with pytest.raises(BaseException, match=r".*") as told:
        asyncio.run(story())
    assert not isinstance(told.value, TimeoutError)


@pytest.mark.parametrize("answer", [None, "", True, [], {"taskId": "7"}, 7.5])
def test_an_answer_that_is_no_id_is_no_answer(answer: Any) -> None:
    class Odd(Silent):
        def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
            return answer

    with pytest.raises(bridge.UnreachableError):
        asyncio.run(EngineInUse(Odd(gives_up)).submit({}, {}))


def test_what_is_no_sighting_says_nothing() -> None:
    assert asyncio.run(EngineInUse(Silent(lambda: "absent")).look_up("7")) is UNKNOWN


@pytest.mark.parametrize("recovers", [True, False])
def test_killed_between_sending_and_the_answer_it_is_asked_about(recovers: bool, tmp_path: Path) -> None:
    """Also by a program that does not recover, and only enters the row again."""
    service = Scripted(plain=True)
    office = Office(service, tmp_path)
    run = office.main_py()
    task_id = run.db.add_workflow_task(row(2), "图片合成")

    async def killed() -> None:
        sending = asyncio.create_task(run.recovery.submit(task_id, service.client_workflow(2)))
        while run.db.table.get(task_id).sending is None:  # noqa: ASYNC110 - it is on disk
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])

    asyncio.run(killed())
    for thread in threading.enumerate():
        if thread.name == "wfrecovery-engine":  # it may have left, and then it is paid for
            thread.join(120)
    assert office.task(task_id)["metadata"]["stage"] == "created"
    paid = service.paid(2)
    for _ in range(2):
        if recovers:
            office.main_py().looks()
        else:
            office.main_py().enters(2)
        assert office.task(task_id)["metadata"]["stage"] == "asking"
    assert service.paid(2) == paid


@pytest.mark.parametrize(
    ("places", "end"),
    [
        (["absent", "running", "absent", "succeeded"], "succeeded"),
        (["absent", "unknown", "absent", "waiting", "failed"], "failed"),
        (["running", "absent", "absent", "running"], "absent"),
    ],
)
def test_what_is_nowhere_at_one_look_may_be_there_at_the_next(places: list[str], end: str) -> None:
    """A cloud may know late what it has accepted."""
    turns = iter(places)
    engine = Silent(lambda: bridge.Sighting(bridge.Place(next(turns))))
    engine.poll_seconds = 0.01
    seen = asyncio.run(engine.wait_for_completion("7"))
    assert seen.place.value == end


@pytest.mark.parametrize("unknown", ["ask", "again"])
def test_a_former_run_s_task_is_looked_for_twice(unknown: str, tmp_path: Path) -> None:
    service = Scripted(plain=True)
    office = Office(service, tmp_path)
    task_id = office.main_py().enters(2)
    (job,) = service.jobs.values()
    job["late"] = 1
    office.main_py(unknown=unknown).looks()
    assert (office.task(task_id)["status"], office.task(task_id)["metadata"]["stage"]) == ("在处理中", "queued")
    assert service.paid(2) == 1


def test_words_of_what_was_never_answered(tmp_path: Path) -> None:
    service = Scripted(plain=True)
    office = Office(service, tmp_path)
    for _ in range(9):
        service.answer_lost(accepted=False)
    task_id = office.main_py(unknown="again", max_attempts="2").enters(2)
    office.main_py(unknown="again", max_attempts="2").recovers()
    told = office.task(task_id)
    assert (told["status"], len(service.orders)) == ("失败", 6)
    assert "3 times" in told["error_message"]
    assert "ComfyUI" not in told["error_message"]


@pytest.mark.parametrize(("asked", "waited"), [(None, 0.01), (7.0, 7.0), (99_999.0, 600.0)])
def test_a_busy_service_says_when_to_come_again_within_reason(
    asked: float | None, waited: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = Scripted(plain=True)
    pauses: list[float] = []
    turned_away: list[bool] = []
    create, sleep = service.create, asyncio.sleep

    def busy_at_first(workflow: Mapping[str, Any]) -> int:
        if not turned_away:
            turned_away.append(True)
            raise bridge.BusyError(retry_after=asked)
        return create(workflow)

    async def noted(seconds: float) -> None:
        pauses.append(seconds)  # also whoever else sleeps: the numbering, half a second
        await sleep(0)

    service.create = busy_at_first  # type: ignore[method-assign]
    with monkeypatch.context() as patch:
        patch.setattr(submitting.asyncio, "sleep", noted)
        Office(service, tmp_path).main_py().enters(2)
    assert (set(pauses) - {0.5}, service.paid(2)) == ({waited}, 1)
