"""Who renders, as the author of a client writes it: `submit` and `look_up`. All else is ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .downloads import fetch
from .errors import FileUnavailableError
from .history import ResultFile, Sighting
from .in_use import EngineInUse
from .submitted import SubmittedId, submit_for_current


class Engine(ABC):
    """A service that renders. Its methods may be asynchronous or plain: what is plain runs in a thread.

    Waiting, fetching and counting are done for it. What `submit` and `look_up` answer decides
    whether something is paid for twice: answer "cannot say" rather than what is only likely.
    """

    #: Service and account: records name it, and the recovery of another engine leaves its tasks alone.
    engine: str = ""
    #: False only where the service takes the id that we make (`task["comfyui_task_id"]`), so that a lost answer can be
    #: looked up. Else a person is asked.
    makes_own_ids: ClassVar[bool] = True
    #: Waiting is ours: `look_up` is asked again and again.
    is_polled: ClassVar[bool] = True
    #: Seconds between two looks at a task, the first and the longest.
    poll_seconds: float = 3.0
    longest_poll_seconds: float = 20.0

    @abstractmethod
    def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
        """Send a workflow, once, and return the id that the service gives it (a text or a number).

        `workflow` is what `TaskRecoveryManager.submit` was given, `task` the record as JSON. There are four ends:

        * the id: **accepted**;
        * RefusedError: **refused**, and would be refused again; the task is 失败 with these words;
        * BusyError: **busy**, surely not accepted; it is sent again after `retry_after` seconds, no attempt counted;
        * any other error: **unknown**. The service may have accepted it. It is not sent again by itself, unless
          `makes_own_ids` is False and `look_up` says that it is not there, or the setting WFRECOVERY_UNKNOWN says so.
        """

    @abstractmethod
    def look_up(self, job_id: str) -> Any:
        """Where a task is: a `Sighting`.

        `Place.WAITING` or `RUNNING`: it is followed on. `SUCCEEDED`, with the files that it made. `FAILED` with the
        reason. `INTERRUPTED`: cancelled. `ABSENT`: the service has answered that it knows no such task. `UNKNOWN`, or
        any error: nothing is concluded. It is asked often, over restarts of this program.
        """

    def cancel(self, job_id: str) -> Any:  # noqa: ARG002 - for who writes one
        """Stop a task; where a service cannot, its result is not used. It is called again after an error, or where this
        answers False: it goes on for now. What is whole by then is used."""
        return None

    def progress(self, job_id: str) -> Any:  # noqa: ARG002 - for who writes one
        """How far a running task is, as (done, of how many); None where that is not known."""
        return None

    def download(self, file: ResultFile, target: Path) -> Any:
        """Fetch a result into `target`, whole or not at all: from its address, unless the engine knows better."""
        if not file.url:
            raise FileUnavailableError(f"{file.path} has no address")
        return fetch(file.url, file.path, target)

    # ------------------------------------------------------------------ for programs that call it themselves

    async def submit_workflow(self, workflow: Mapping[str, Any], task: Mapping[str, Any] | None = None) -> SubmittedId:
        """Send a workflow, for the task that was entered last; its id, which also answers to `.task_id`.

        Raises EngineError, also where the task waits for a person because no answer came.
        """
        submitted = await submit_for_current(EngineInUse.of(self).name, workflow) if task is None else None
        return submitted or SubmittedId(await EngineInUse.of(self).submit(workflow, task or {}))

    async def wait_for_completion(self, job_id: str) -> Sighting:
        """Follow a task to its end: where it came to rest, with its files."""
        return await EngineInUse.of(self).wait(job_id, lambda _: None, lambda *_: None)
