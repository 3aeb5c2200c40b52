"""The service behind its HTTP: accounts, uploads, tasks and how they come to their end. Without sockets and threads.

Nothing runs here: whoever asks gets what must have happened by the clock. A task waits until its account may run one
more, runs for as long as its workflow says, or until a test ends it, and then has its files.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from .pictures import Kind, draw
from .switches import Limits, Switches
from .wire import RefusalError

__all__ = ["Cloud", "Output", "State", "Task", "Workflow"]

State = Literal["QUEUED", "RUNNING", "SUCCESS", "FAILED", "CANCELLED"]

#: fields that are set anew for each run unless they are given
_SEEDS = ("seed", "noise_seed")


@dataclass(frozen=True)
class Output:
    """Files that one node of a workflow makes."""

    node: str = "9"
    kind: Kind = "png"
    count: int = 1


@dataclass(frozen=True)
class Workflow:
    """What a workflow makes, and of what."""

    outputs: tuple[Output, ...] = (Output(),)
    #: how long it runs; None: until `finish` or `fail`
    seconds: float | None = 0.0
    #: its nodes and their fields; None: whatever is asked for
    nodes: Mapping[str, Collection[str]] | None = None


@dataclass
class Task:
    """One create that was accepted, and so is paid for."""

    id: str
    #: the apiKey that it was created with
    account: str
    workflow_id: str
    workflow: Workflow
    node_info: list[dict[str, Any]]
    #: what goes into its files: texts, or the uploaded files' content, in the order of nodes and fields
    inputs: list[str | bytes]
    seed: str
    created: float
    state: State = "QUEUED"
    started: float | None = None
    ended: float | None = None
    #: why it failed, as ComfyUI says it
    reason: dict[str, Any] = field(default_factory=dict)
    forgotten: bool = False
    #: how often /outputs was asked since its end
    polls: int = 0

    @property
    def unfinished(self) -> bool:
        return self.state in ("QUEUED", "RUNNING")

    @property
    def due(self) -> float | None:
        """When it ends by itself."""
        seconds = self.workflow.seconds
        return None if seconds is None or self.started is None else self.started + seconds

    def files(self) -> list[Output]:
        """One entry for each file that it makes."""
        return [output for output in self.workflow.outputs for _ in range(output.count)]

    def content(self, number: int) -> bytes:
        """What is in a file."""
        return draw(self.inputs, f"{self.workflow_id}:{self.seed}:{number}", self.files()[number].kind)

    def has(self, mark: str | bytes) -> bool:
        """Whether this text stands in one of its inputs, not as a part of a longer number; or it got this very file."""
        return any(_marked(value, mark) for value in self.inputs)


class Cloud:
    """All accounts. Thread-safe: everything is asked and changed inside `at_work`."""

    def __init__(
        self,
        workflows: Mapping[str, Workflow],
        accounts: Collection[str],
        limits: Limits,
        switches: Switches,
        clock: Callable[[], float],
    ) -> None:
        self.workflows = dict(workflows)
        self.accounts = set(accounts)
        self.tasks: dict[str, Task] = {}
        #: by the name that the service gave them
        self.uploads: dict[str, bytes] = {}
        self._limits = limits
        self._switches = switches
        self._clock = clock
        self._lock = threading.RLock()
        # 19 digits, as the real ones: more than a floating-point number holds.
        self._next_id = random.SystemRandom().randrange(19 * 10**17, 20 * 10**17)

    @contextmanager
    def at_work(self) -> Iterator[float]:
        """Alone, with everything done that was due by now. Gives the time."""
        with self._lock:
            now = self._clock()
            while (due := self._next_due()) is not None and due[0] <= now:
                self._end(due[1], "SUCCESS", due[0])
            self._start_waiting(now)
            yield now

    def create(self, account: str, workflow_id: str, node_info: list[dict[str, Any]]) -> Task:
        """Accept a task. Raises RefusalError."""
        with self.at_work() as now:
            workflow = self.workflows.get(workflow_id)
            if workflow is None:
                raise RefusalError(self._switches.wrong_workflow_code)
            wrong = self._wrong_node(workflow, node_info)
            if wrong is not None and self._switches.wrong_node_code:
                raise RefusalError(self._switches.wrong_node_code)
            self._check_pictures(node_info)
            self._check_room(account)
            task = Task(
                str(self._next_id),
                account,
                workflow_id,
                workflow,
                node_info,
                [self._input(info["fieldValue"]) for info in _ordered(node_info)],
                _seed(node_info) or f"task {self._next_id}",
                now,
            )
            self._next_id += random.SystemRandom().randrange(1, 1000)
            self.tasks[task.id] = task
            if wrong is not None:
                task.reason = {"node_name": "", "node_id": wrong, "exception_message": "the node has no such field"}
                self._end(task, "FAILED", now)
            self._start_waiting(now)
            return task

    def find(self, account: str, task_id: str) -> Task:
        """A task of this account that the service still knows. Raises RefusalError."""
        with self.at_work() as now:
            task = self.tasks.get(task_id)
            kept = self._limits.remember_seconds
            if task is None or task.forgotten or task.account != account:
                raise RefusalError(self._switches.unknown_task_code)
            if kept is not None and task.ended is not None and now >= task.ended + kept:
                raise RefusalError(self._switches.unknown_task_code)
            return task

    def cancel(self, account: str, task_id: str) -> None:
        """Raises RefusalError where it comes too late."""
        with self.at_work() as now:
            task = self.find(account, task_id)
            if task.unfinished:
                self._end(task, "CANCELLED", now)
            elif self._switches.late_cancel_code:
                raise RefusalError(self._switches.late_cancel_code)

    def upload(self, data: bytes, filename: str) -> str:
        """Keep a file; the name to put into `nodeInfoList`. Raises RefusalError."""
        if len(data) > self._limits.upload_bytes:
            raise RefusalError(809)
        stem = hashlib.sha256(data).hexdigest() if self._switches.upload_names == "content" else secrets.token_hex(32)
        name = f"api/{stem}{PurePosixPath(filename).suffix.lower()}"
        with self.at_work():
            self.uploads[name] = data
        return name

    def end(self, task_id: str, state: State, reason: Mapping[str, Any] | None = None) -> None:
        """A test ends a task. Raises KeyError for one that is not there, ValueError for one that has ended."""
        with self.at_work() as now:
            task = self.tasks[task_id]
            if not task.unfinished:
                raise ValueError(f"{task_id} has ended as {task.state}")
            task.reason = dict(reason or {})
            self._end(task, state, now)

    def unfinished(self, account: str) -> int:
        """How many tasks of it wait or run."""
        with self.at_work():
            return sum(task.unfinished for task in self._of(account))

    def runs_left(self, account: str) -> int | None:
        """How many more it has money for; None: as many as one likes."""
        with self.at_work():
            runs = self._limits.runs
            return None if runs is None else max(0, runs - len(self._of(account)))

    def paid(self, mark: str | bytes) -> int:
        """How often a task with this mark was accepted; see `Task.has`."""
        with self.at_work():
            return sum(task.has(mark) for task in self.tasks.values())

    def bill(self) -> Counter[str]:
        """How often each set of inputs was accepted: workflow, texts and pictures, apart from the seed."""
        with self.at_work():
            return Counter(_line(task) for task in self.tasks.values())

    def _of(self, account: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.account == account]

    def _next_due(self) -> tuple[float, Task] | None:
        running = (task for task in self.tasks.values() if task.state == "RUNNING")
        due = [(task.due, task) for task in running if task.due is not None]
        return min(due, key=lambda pair: pair[0], default=None)

    def _start_waiting(self, now: float) -> None:
        most = self._limits.running
        running = Counter(task.account for task in self.tasks.values() if task.state == "RUNNING")
        for task in self.tasks.values():
            if task.state == "QUEUED" and (most is None or running[task.account] < most):
                task.state, task.started = "RUNNING", now
                running[task.account] += 1

    def _end(self, task: Task, state: State, at: float) -> None:
        task.state, task.ended = state, at
        self._start_waiting(at)

    def _wrong_node(self, workflow: Workflow, node_info: list[dict[str, Any]]) -> str | None:
        """The first node that the workflow has not, or not with this field."""
        for info in node_info:
            node = str(info["nodeId"])
            if workflow.nodes is not None and info["fieldName"] not in workflow.nodes.get(node, ()):
                return node
        return None

    def _check_pictures(self, node_info: list[dict[str, Any]]) -> None:
        for info in node_info:
            value = info["fieldValue"]
            if isinstance(value, str) and value.startswith("api/") and value not in self.uploads:
                raise RefusalError(433, f"VALIDATE_PROMPT_FAILED: Invalid image file: {value}")

    def _check_room(self, account: str) -> None:
        limits, mine = self._limits, self._of(account)
        running = sum(task.state == "RUNNING" for task in self.tasks.values())
        if limits.runs is not None and len(mine) >= limits.runs:
            raise RefusalError(416)
        if limits.machines is not None and running >= limits.machines:
            raise RefusalError(415)
        if limits.unfinished is not None and sum(task.unfinished for task in mine) >= limits.unfinished:
            raise RefusalError(421)

    def _input(self, value: Any) -> str | bytes:
        return self.uploads.get(value, value) if isinstance(value, str) else str(value)


def _ordered(node_info: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without seeds, in the order of nodes and fields, however the client has put them."""
    kept = [info for info in node_info if info["fieldName"] not in _SEEDS]
    return sorted(kept, key=lambda info: (str(info["nodeId"]).zfill(6), info["fieldName"]))


def _seed(node_info: list[dict[str, Any]]) -> str:
    """What the client wants the run to be; empty: as it comes."""
    given = [info for info in node_info if info["fieldName"] in _SEEDS]
    return " ".join(sorted(f"{info['nodeId']}={info['fieldValue']}" for info in given))


def _marked(value: str | bytes, mark: str | bytes) -> bool:
    if isinstance(value, bytes) or isinstance(mark, bytes):
        return value == mark
    starts = (at for at in range(len(value)) if value.startswith(mark, at))
    return bool(mark) and any(not _in_number(value, at) and not _in_number(value, at + len(mark)) for at in starts)


def _in_number(text: str, at: int) -> bool:
    """Whether this place lies between two digits: "row 1" is no mark of "row 12"."""
    return text[at - 1 : at].isdigit() and text[at : at + 1].isdigit()


def _line(task: Task) -> str:
    values = (f"picture {hashlib.sha256(v).hexdigest()[:8]}" if isinstance(v, bytes) else v for v in task.inputs)
    return " · ".join((task.workflow_id, *values))
