"""A team's own client that is no `Engine`: what its program submits is on disk before their request leaves."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from ..redact import without_secrets
from ..running import run
from .calling import called
from .comfyui import ComfyUIClient
from .engine import Engine
from .history import UNKNOWN
from .submitted import submit_for_current

#: What is theirs as it is, where they have it.
_THEIRS: Final = (
    *("wait_for_completion", "cancel", "progress", "download"),
    *("makes_own_ids", "poll_seconds", "longest_poll_seconds"),
)
#: How answers call the id of a task.
_ID_NAMES: Final = ("task_id", "taskId", "prompt_id")
#: In a graph file, the arguments of a call.
_CALL: Final = "submit_workflow"


def recorded(client: Any, *, engine: str = "") -> Any:
    """A team's own client, so that what the program submits with it is recorded; an `Engine` is returned as it is.

        self.comfyui_client = bridge.recorded(TheirClient(...))

    Call it as before: `submit_workflow(...)` with whatever arguments, asynchronous or plain, and `wait_for_completion`,
    which answers what theirs does. Submitting is for the task that was entered last in that asyncio context (or
    thread): "sending" is on disk before their request leaves, the id when their method returns. What a former run has
    sent is not sent again: its id is returned. Give the same object to `TaskRecoveryManager`.

    Their client needs `submit_workflow`; with a `look_up` (see `Engine.look_up`) the recovery follows and fetches what
    a former run has sent, without it the program does when it comes to that row. Their exceptions mean "nobody knows",
    and cost that row at most, unless they are EngineErrors or the connection was never made. `engine`: service and
    account, by which records name it; default is the name of their class.
    """
    return client if isinstance(client, Engine | ComfyUIClient) else RecordedClient(client, engine)


class RecordedClient(Engine):
    """See `recorded`. What it does not know is theirs."""

    def __init__(self, client: Any, engine: str) -> None:
        self._client = client
        self.engine = engine or getattr(client, "engine", "") or type(client).__name__
        for name in _THEIRS:
            if hasattr(client, name):
                setattr(self, name, getattr(client, name))
        setattr(self, "is_polled", hasattr(client, "look_up") or not hasattr(client, "wait_for_completion"))  # noqa: B010
        if not inspect.iscoroutinefunction(client.submit_workflow):
            setattr(self, "submit_workflow", self._submit_plainly)  # noqa: B010

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._client, name)

    async def submit_workflow(self, *arguments: Any, **named: Any) -> Any:
        """Theirs, for the task that was entered last; what theirs answers, or the id that a former run was given."""
        call = _Call(arguments, named)
        job_id = await submit_for_current(self.engine, call)
        if job_id is None:  # no task was entered: it is theirs alone
            return await called(self._client.submit_workflow, *arguments, **named)
        return call.answers[0] if call.answers else job_id

    def _submit_plainly(self, *arguments: Any, **named: Any) -> Any:
        return _waited(RecordedClient.submit_workflow(self, *arguments, **named))

    async def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
        """Send it by their method, with the arguments of their program's call, also of a former run's."""
        call = workflow if isinstance(workflow, _Call) else _Call.of(workflow)
        named = dict(call.named)
        if not self.makes_own_ids:
            named.setdefault("prompt_id", task["comfyui_task_id"])
        answer = await called(self._client.submit_workflow, *call.arguments, **named)
        call.answers.append(answer)
        return _id_in(answer)

    async def look_up(self, job_id: str) -> Any:
        """Theirs; where they have none, nothing is concluded."""
        ask = getattr(self._client, "look_up", None)
        return UNKNOWN if ask is None else await called(ask, job_id)


class _Call(dict[str, Any]):
    """A call of their `submit_workflow`. As a mapping, what can be kept of it to send it again: nothing where an
    argument is no JSON, or a secret; then the next batch sends the row."""

    def __init__(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        super().__init__(_kept({_CALL: {"arguments": list(arguments), "named": dict(named)}}))
        self.arguments, self.named = arguments, named
        self.answers: list[Any] = []

    @classmethod
    def of(cls, workflow: Mapping[str, Any]) -> _Call:
        """One that was kept; or one whose only argument is the workflow that `TaskRecoveryManager.submit` was given."""
        kept = workflow.get(_CALL) if len(workflow) == 1 else None
        if isinstance(kept, Mapping) and kept.keys() == {"arguments", "named"}:
            return cls(tuple(kept["arguments"]), kept["named"])
        return cls((workflow,), {})


def _kept(call: dict[str, Any]) -> dict[str, Any]:
    try:
        same = json.loads(json.dumps(call)) == call == without_secrets(call)
    except (TypeError, ValueError, RecursionError):
        return {}
    return call if same else {}


def _id_in(answer: Any) -> Any:
    """The id in what theirs answers: itself, an attribute or a key of it."""
    if isinstance(answer, Mapping):
        return next((answer[name] for name in _ID_NAMES if answer.get(name)), answer)
    return next((value for name in _ID_NAMES if (value := getattr(answer, name, None))), answer)


def _waited(submitting: Coroutine[Any, Any, Any]) -> Any:
    """Its result, for a plain method, also where an asynchronous program calls that."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(submitting)
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(copy_context().run, run, submitting).result()
