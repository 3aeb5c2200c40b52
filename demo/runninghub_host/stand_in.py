"""A stand-in for RunningHub: a real HTTP server on loopback that answers as documented, also where that hurts.

In a test::

    with RunningHubStandIn({"101": Workflow(nodes={"6": ("text",), "10": ("image",)}, seconds=None)}) as cloud:
        cloud.faults.add(Fault.QUEUE_FULL_421, times=3)
        ...  # the client under test gets cloud.url and cloud.api_key
        cloud.finish(cloud.tasks[0].id)
        ...
        assert cloud.paid("row 7") == 1
        assert shows(downloaded, "row 7 杯子")

As a process: ``python -m wfrecovery.demo.runninghub_host --port 0 --workflows workflows.json``.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from .addresses import Addresses
from .api import Api
from .cloud import Cloud, Output, Task, Workflow
from .control import Control
from .faults import BROKEN, BUSY, Fault, FaultPlan, Rule
from .pictures import run_of, shows
from .server import CloudServer
from .service import Call, Service
from .switches import Limits, Switches
from .wire import Answer, Request

__all__ = [
    "BROKEN",
    "BUSY",
    "Call",
    "Fault",
    "FaultPlan",
    "Limits",
    "Output",
    "Rule",
    "RunningHubStandIn",
    "Switches",
    "Task",
    "Workflow",
    "run_of",
    "shows",
]


class RunningHubStandIn:
    """The whole service, with one account; more may be added to `accounts`, by their keys.

    `workflows` are those that it knows, by id. `clock` is what it takes for the time. `switches` may be drawn by
    chance: `Switches.drawn(random.Random(seed))`. Tasks, bill and faults outlive `stop` and `start`: a service goes on.
    """

    def __init__(
        self,
        workflows: Mapping[str, Workflow],
        *,
        api_key: str = "",
        switches: Switches | None = None,
        limits: Limits | None = None,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.api_key = api_key or f"standin-key-{secrets.token_hex(8)}"
        self.switches = switches or Switches()
        self.limits = limits or Limits()
        self.faults = FaultPlan()
        self._cloud = Cloud(workflows, [self.api_key], self.limits, self.switches, clock)
        addresses = Addresses(self.limits, self.switches, clock)
        self._service = Service(Api(self._cloud, addresses, self.switches), addresses, self.faults, self.switches)
        self._control = Control(self)
        self._port = port
        self._server: CloudServer | None = None

    def start(self) -> RunningHubStandIn:
        """Listen; after a `stop` on the same port as before, with everything still there."""
        self._server = CloudServer(self._port, self._answer)
        self._port = self._server.server_port
        self._service.api.base_url = self.url
        return self

    def stop(self) -> None:
        """Go off the net: connections end, new ones are refused. Tasks run on by the clock."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def __enter__(self) -> RunningHubStandIn:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """In place of https://www.runninghub.cn; without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def accounts(self) -> set[str]:
        """The keys that it knows: none of them sees another's tasks."""
        return self._cloud.accounts

    @property
    def workflows(self) -> dict[str, Workflow]:
        """The workflows that it knows; a test may change them."""
        return self._cloud.workflows

    @property
    def tasks(self) -> list[Task]:
        """Every create that was accepted, in order, as it stands now."""
        with self._cloud.at_work():
            return list(self._cloud.tasks.values())

    @property
    def calls(self) -> Counter[str]:
        """How often each call was made, however that ended: create, status, outputs, cancel, upload, download, …"""
        return self._service.counts()

    @property
    def log(self) -> list[Call]:
        """Every call, in the order of arrival."""
        return list(self._service.calls)

    def task(self, task_id: str) -> Task:
        """One task as it stands now. Raises KeyError."""
        with self._cloud.at_work():
            return self._cloud.tasks[task_id]

    def finish(self, task_id: str) -> None:
        """A task that waits or runs has its files now. Raises KeyError, or ValueError if it has ended already."""
        self._cloud.end(task_id, "SUCCESS")

    def fail(self, task_id: str, reason: str = "out of memory", node: str = "KSampler") -> None:
        """A task that waits or runs fails in this node, with these words. Raises KeyError, ValueError."""
        told = {"node_name": node, "node_id": "3", "exception_type": "RuntimeError", "exception_message": reason}
        self._cloud.end(task_id, "FAILED", {**told, "traceback": "[]", "current_inputs": "{}", "current_outputs": "{}"})

    def forget(self, task_id: str) -> None:
        """The service no longer knows a task, which was paid for all the same. Raises KeyError."""
        self.task(task_id).forgotten = True

    def paid(self, mark: str | bytes) -> int:
        """How many accepted tasks have this text in one of their inputs, or this very file as one.

        A text at whose end a number goes on is another one: "row 1" is not in "row 12".
        """
        return self._cloud.paid(mark)

    def bill(self) -> Counter[str]:
        """How often each set of inputs was paid for: workflow, texts and pictures, apart from the seed."""
        return self._cloud.bill()

    @property
    def connection(self) -> dict[str, str]:
        """What a client must know, as the process prints it."""
        return {"url": self.url, "api_key": self.api_key}

    def _answer(self, request: Request) -> Answer:
        return self._control.answer(request) or self._service.answer(request)

    def to_json(self) -> dict[str, Any]:
        """What has happened, for whoever runs it as a process."""
        with self._cloud.at_work():
            tasks = [
                {"id": task.id, "workflow_id": task.workflow_id, "node_info": task.node_info, "state": task.state}
                for task in self._cloud.tasks.values()
            ]
        return {
            "tasks": tasks,
            "bill": self.bill(),
            "calls": self.calls,
            "faults": dict(self.faults.struck),
            "switches": vars(self.switches),
            "limits": vars(self.limits),
        }
