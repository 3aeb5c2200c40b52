"""Random stories: the table against a dict, with crashes at any operation, restarts and damage in between. M1."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from table_support import GRAPH, Steps, WatchedDisk, add_attempt, all_records, finish, img, job, pushed, temp_files

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.index import TaskIndex
from wfrecovery.bridge.table.names import UnknownTaskError
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import SCHEMA, Stage, TaskRecord, TransitionError
from wfrecovery.bridge.table.values import FeishuState


class CrashError(BaseException):
    """The process is gone: nothing that is written after it reaches the disk either."""


def crash() -> None:
    raise CrashError


def content(record: TaskRecord) -> dict[str, Any]:
    data = record_to_json(record)
    data["created_at"] = data["updated_at"] = ""
    data["metadata"].pop("story", None)
    return data


CHANGES: dict[str, Callable[[TaskRecord], TaskRecord]] = {
    "attempt": add_attempt,
    "run": lambda record: record.entering(Stage.RUNNING),
    "queue again": lambda record: record.entering(Stage.QUEUED, error_message=None),
    "finish": finish,
    "fail": lambda record: record.entering(Stage.FAILED, error_message="没有显存"),
    "cancel": lambda record: record.entering(Stage.CANCELLED).with_outbox(state=FeishuState.OFF),
    "push": pushed,
    "block": lambda record: record.with_outbox(state=FeishuState.BLOCKED),
    "nothing": lambda record: record,
}
NUMBERS = st.integers(1, 6)
MAKERS = st.sampled_from([job, img])
#: Before which operation the process dies; most calls have fewer than 12.
STEPS = st.integers(1, 14)


class TableMachine(RuleBasedStateMachine):
    ids = Bundle("ids")
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wfrecovery-model-"))
        self.model: dict[str, dict[str, Any]] = {}
        self.claimed: set[str] = set()
        self.steps: Steps | None = None
        self.open()

    def open(self) -> None:
        """A new process: another look at the same folder."""
        self.table = WorkflowDatabase(self.folder, disk=WatchedDisk(self._before), lock_timeout=0)
        self.table.files.disk.sync = lambda descriptor: self._before("sync", ())
        self.table.files.disk.sync_folder = lambda folder: self._before("sync_folder", ())

    def _before(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.steps is not None:
            self.steps(name, arguments)

    def call(self, task_id: str, call: Callable[[], object], step: int | None, act: Callable[[], None]) -> None:
        """Run `call`, hit at operation `step`; then the task is as before or as an undisturbed call would leave it."""
        before = self.model.get(task_id)
        self.steps = None if step is None else Steps(step, act, for_ever=act is crash)
        try:
            call()
        except CrashError:
            self.steps = None
            self.open()
            self.table.sweep()
        except OSError:
            self.steps = None
        else:
            self.steps = None
            return
        try:
            found = content(self.table.get(task_id))
        except UnknownTaskError:
            assert before is None
        else:
            assert found in (before, self.expected)
            self.model[task_id] = found

    @rule(target=ids, number=NUMBERS, make=MAKERS, step=st.none() | STEPS, act=st.sampled_from(["crash", "error"]))
    def create(self, number: int, make: Callable[..., TaskRecord], step: int | None, act: str) -> str:
        record = make(number)
        if record.task_id in self.model:
            return record.task_id
        self.expected = {**content(record), "revision": 1}
        done = lambda: self.table.create(record, GRAPH)  # noqa: E731
        self.call(record.task_id, done, step, crash if act == "crash" else no_space)
        if step is None:
            self.model[record.task_id] = self.expected
        else:
            self._settle(record.task_id)
        return record.task_id

    @rule(
        task_id=ids,
        name=st.sampled_from(sorted(CHANGES)),
        step=st.none() | STEPS,
        act=st.sampled_from(["crash", "error"]),
    )
    def update(self, task_id: str, name: str, step: int | None, act: str) -> None:
        if task_id not in self.model:
            return
        record = self.table.get(task_id)
        try:
            changed = CHANGES[name](record)
        except TransitionError:  # which stage allows which is told in test_table.py
            return
        expected = content(changed)
        if changed != record:
            expected["revision"] += 1
        self.expected = expected
        self.call(
            task_id,
            lambda: self.table.update(task_id, CHANGES[name]),
            step,
            crash if act == "crash" else no_space,
        )
        if step is None:
            self.model[task_id] = expected
        else:
            self._settle(task_id)

    def _settle(self, task_id: str) -> None:
        """A call that was to be hit may have ended before; then it counts as done."""
        try:
            found = content(self.table.get(task_id))
        except UnknownTaskError:
            assert task_id not in self.model
            return
        assert found in (self.model.get(task_id), self.expected)
        self.model[task_id] = found

    @rule(target=claims)
    def claim(self) -> str:
        task_id = self.table.claim_id(None)
        assert task_id not in self.model
        assert task_id not in self.claimed
        self.claimed.add(task_id)
        return task_id

    @rule(task_id=consumes(claims))
    def release(self, task_id: str) -> None:
        self.table.release_id(task_id)
        self.claimed.remove(task_id)

    @rule()
    def restart(self) -> None:
        self.open()
        self.table.sweep()
        assert temp_files(self.folder) == []

    @rule(task_id=ids)
    def another_process_updates(self, task_id: str) -> None:
        if task_id in self.model:
            record = WorkflowDatabase(self.folder, lock_timeout=0).update(task_id, add_attempt)
            self.model[task_id] = content(record)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """One active record is cut; it comes back from its graph, queued, and its number is not used again."""
        active = sorted(path.stem for path in (self.table.folder / "active").glob("*.json"))
        if not active:
            return
        task_id = data.draw(st.sampled_from(active))
        path = self.table.folder / "active" / f"{task_id}.json"
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, 200))])
        rebuilt = {record.task_id: record for record in self.table.active()}[task_id]
        assert (rebuilt.stage, rebuilt.row_number) == (Stage.QUEUED, GRAPH["task"]["row_number"])
        assert any(name.startswith(task_id) for name in self.table.corrupt())
        self.model[task_id] = content(rebuilt)

    @invariant()
    def the_table_is_the_model(self) -> None:
        if not hasattr(self, "folder"):
            return
        assert {task_id: content(record) for task_id, record in all_records(self.table).items()} == self.model
        settled = {task_id for task_id, record in all_records(self.table).items() if record.settled}
        lying = {record.task_id for record in self.table.active()}
        assert lying | settled == self.model.keys()
        statuses = Counter(record["status"] for record in self.model.values())
        counted: Counter[str] = Counter()
        for (stage, _state), number in TaskIndex(WorkflowDatabase(self.folder)).counts().items():
            counted[stage.status.value] += number
        assert counted == statuses
        for task_id in self.model:
            assert self.table.graph(task_id) == {"schema": SCHEMA, **GRAPH}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


TestTable = TableMachine.TestCase
TestTable.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize="CI" in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
