"""What a person can do with tasks: retry, push, cancel, decide; one or many at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from ...bridge.apart import apart
from ...bridge.feishu.client import FeishuClient
from ...bridge.feishu.deciding import give_file, leave, write_anyway
from ...bridge.table.index import TaskEntry
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import Stage, TaskError, TaskRecord
from ...bridge.table.values import FeishuState
from ...bridge.wording import Wording
from ..recovery.requests import Requests, Wish
from ..recovery.startup import StartupRecovery
from .errors import BadRequestError
from .task_query import FILTERS, TaskFilter

log = logging.getLogger("wfrecovery")

#: Tasks in one request: its answer must come before the page gives up waiting, after 60 s.
MAX_MANY: Final = 1000


class Action(str, Enum):
    """The last part of the routes."""

    RETRY = "retry"
    PUSH = "push"
    CANCEL = "cancel"
    #: deliver it into the row that a person names, whatever that says now
    WRITE = "write"
    #: a file that a person names is its result
    ADOPT = "adopt"
    #: deliver it no more
    LEAVE = "leave"

    @classmethod
    def of(cls, name: str) -> Action:
        """Raises BadRequestError."""
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(item.value for item in cls)
            raise BadRequestError("unknown_action", f"{name!r} is not one of {known}", 404) from None


#: What is named for one task at a time.
_FOR_ONE: Final = (Action.WRITE, Action.ADOPT)


@dataclass(frozen=True)
class Named:
    """What a person names beside the task: for WRITE the row, and what he was shown of it; for ADOPT the file."""

    row_number: int | None = None
    seen: str | None = None
    path: str = ""

    @classmethod
    def of(cls, action: Action, body: Mapping[str, Any]) -> Named:
        """Check a body. Raises BadRequestError."""
        number, seen, path = (body.get(name) for name in ("row_number", "seen", "path"))
        if number is not None and (type(number) is not int or number < 1):
            raise BadRequestError("bad_row_number", "row_number is the number of a row: 1, 2, …")
        if seen is not None and not isinstance(seen, str):
            raise BadRequestError("bad_row_number", "seen is the text that came with the row")
        if action is Action.ADOPT and not (isinstance(path, str) and path.strip()):
            raise BadRequestError("bad_path", "path is the path of a file, relative to the output folder")
        return cls(number, seen, str(path) if action is Action.ADOPT else "")


@dataclass(frozen=True)
class Selection:
    """The tasks that a request means: by their ids, or all that match a filter and that the action can help."""

    task_ids: tuple[str, ...] | None
    wanted: TaskFilter

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Selection:
        """Check a body: `{"task_ids": […]}` or `{"filter": {…}}`. Raises BadRequestError."""
        task_ids, wanted = body.get("task_ids"), body.get("filter")
        if (task_ids is None) == (wanted is None) or body.keys() - {"task_ids", "filter"}:
            raise BadRequestError("bad_selection", 'the body is {"task_ids": [...]} or {"filter": {...}}')
        if wanted is not None:
            if not isinstance(wanted, dict) or wanted.keys() - set(FILTERS):
                raise BadRequestError("bad_filter", f"filter is an object with some of {', '.join(FILTERS)}")
            found = TaskFilter.of(wanted)
            if found == TaskFilter():
                raise BadRequestError("bad_filter", "an empty filter would mean every task: name what is meant")
            return cls(None, found)
        if not isinstance(task_ids, list) or not all(isinstance(task_id, str) for task_id in task_ids):
            raise BadRequestError("bad_task_ids", "task_ids is a list of ids")
        if len(task_ids) > MAX_MANY:
            raise BadRequestError("bad_task_ids", f"at most {MAX_MANY} tasks at once")
        return cls(tuple(dict.fromkeys(task_ids)), TaskFilter())


class TaskActions:
    """Does what the page, the command line or a script asks for. `document` tells where results are delivered to."""

    def __init__(
        self,
        db: DatabaseManager,
        recovery: StartupRecovery,
        requests: Requests,
        *,
        document: Callable[[], str | None],
        feishu: Callable[[], FeishuClient],
        on_change: Callable[[TaskRecord], None],
    ) -> None:
        self._db, self._recovery, self._requests = db, recovery, requests
        self._document, self._feishu, self._on_change = document, feishu, on_change

    async def act(self, action: Action, task_id: str, named: Named = Named()) -> TaskRecord:
        """Do it with one task; its record afterwards. Raises TaskError where that is not possible. Who pushes one by
        its name means it: this table then delivers it, whoever was to."""
        document = self._document()
        if action is Action.WRITE:
            where = named.row_number, named.seen
            self._on_change(await apart(write_anyway, self._db, self._feishu(), task_id, *where))
            action = Action.PUSH if document is not None else action
        if action is Action.ADOPT:
            self._on_change(await apart(give_file, self._db, task_id, named.path, document))
        if action is not Action.PUSH or document is None:
            return await self._act(action, task_id, await self._wishes(action, [task_id]))
        self._on_change(await apart(self._db.deliver_here, task_id, document))
        return await apart(self._db.table.get, task_id)

    async def _wishes(self, action: Action, task_ids: Sequence[str]) -> Mapping[str, Wish]:
        return await self._requests.wish(task_ids) if action is Action.CANCEL else {}

    async def _act(
        self,
        action: Action,
        task_id: str,
        wishes: Mapping[str, Wish],
        is_taken_out: Callable[[str], bool] = lambda _: False,
    ) -> TaskRecord:
        match action:
            case Action.RETRY:
                await self._retry(task_id, is_taken_out)
            case Action.PUSH:
                self._on_change(await apart(self._db.put_back, task_id))
            case Action.CANCEL:
                await self._requests.cancel(task_id, wishes)
            case Action.LEAVE:
                self._on_change(await apart(leave, self._db, task_id))
        return await apart(self._db.table.get, task_id)

    async def act_on_many(self, action: Action, selection: Selection, language: str) -> dict[str, Any]:
        """Do it with many, oldest first, and what is queued again in the order in which it was; one that cannot be
        helped stops no other. What ends goes the other way, what runs last: else its end would start the next one.

        `left` counts those that match the filter and did not fit into this request.
        """
        if action in _FOR_ONE:
            raise BadRequestError("bad_selection", "a row or a file is named for one task at a time")
        chosen, left = await apart(self._chosen, action, selection)
        done: list[str] = []
        refused: dict[str, str] = {}
        wishes = await self._wishes(action, chosen)
        retried = await apart(self._records, chosen) if action is Action.RETRY else []
        with self._requests.coming(retried) as is_taken_out:
            for task_id in chosen:
                try:
                    record = await self._act(action, task_id, wishes, is_taken_out)
                except TaskError as error:
                    refused[task_id] = error.wording.text(language)
                except OSError as error:
                    refused[task_id] = str(error)
                except Exception as error:  # ComfyUI's own handler, or another plugin's
                    log.exception("[wfrecovery] %s of %s failed", action.value, task_id)
                    refused[task_id] = f"{type(error).__name__}: {error}"
                else:
                    if action is Action.RETRY and record.stage is Stage.FAILED:
                        refused[task_id] = record.error_message or "it cannot be queued again"
                    else:
                        done.append(task_id)
        return {"done": done, "refused": refused, "left": left}

    def _records(self, task_ids: Iterable[str]) -> list[TaskRecord]:
        return [task for task_id in task_ids if (task := self._db.table.look(task_id)) is not None]

    async def _retry(self, task_id: str, is_taken_out: Callable[[str], bool]) -> None:
        """Of many one comes after the other: who clears the queue meanwhile means them all."""
        if not is_taken_out(task_id):
            await self._requests.retry(task_id)
            if not is_taken_out(task_id):
                return
            self._requests.stop(await apart(self._db.table.get, task_id))
        raise TaskError(Wording("it was taken out of the queue", "已从队列中移除"))

    def _chosen(self, action: Action, selection: Selection) -> tuple[Sequence[str], int]:
        if selection.task_ids is not None:
            return self._in_order(action, selection.task_ids), 0
        matching = selection.wanted.among(self._db.index.entries())  # newest first
        # Cancelled stays cancelled: only who asks for the cancelled ones by name gets them back.
        with_cancelled = selection.wanted.stage == Stage.CANCELLED.value
        helped = [entry for entry in matching if _helps(action, entry, with_cancelled)]
        if action is Action.CANCEL:
            helped.sort(key=lambda entry: entry.stage is Stage.RUNNING)
        else:
            helped.reverse()
        return self._in_order(action, [entry.task_id for entry in helped[:MAX_MANY]]), max(0, len(helped) - MAX_MANY)

    def _in_order(self, action: Action, task_ids: Sequence[str]) -> Sequence[str]:
        match action:
            case Action.RETRY:
                return self._recovery.in_queue_order(task_ids)
            case Action.CANCEL:
                return self._recovery.in_queue_order(task_ids)[::-1]
            case _:
                return task_ids


def _helps(action: Action, entry: TaskEntry, with_cancelled: bool) -> bool:
    match action:
        case Action.RETRY:
            return entry.stage in (Stage.FAILED, Stage.ASKING) or (with_cancelled and entry.stage is Stage.CANCELLED)
        case Action.PUSH:
            delivers = entry.stage in (Stage.FINISHED, Stage.FAILED) and entry.row_number is not None
            return delivers and entry.feishu_state in (FeishuState.BLOCKED, FeishuState.PUSHED, FeishuState.PENDING)
        case Action.CANCEL:
            return not entry.stage.final
        case Action.LEAVE:
            return entry.stage.final and entry.feishu_state is FeishuState.BLOCKED
    return False  # a row or a file is named for one task at a time
