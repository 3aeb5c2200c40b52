"""Which tasks are meant: the filter and the paging of `GET /wfrecovery/tasks`, answered from the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...bridge.table.index import TaskEntry
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import KINDS, Stage, WorkflowStatus, id_sort_key, is_task_id
from ...bridge.table.values import FeishuState
from .errors import BadRequestError

MAX_LIMIT: Final = 200
#: `workflow_type` of prompts without a row
OTHER: Final = "other"
_MAX_TEXT: Final = 200

_ALLOWED: Final[Mapping[str, Sequence[str]]] = {
    "status": [item.value for item in WorkflowStatus],
    "stage": [item.value for item in Stage],
    "feishu": [item.value for item in FeishuState],
    "workflow_type": [*(kind for kind in KINDS if kind), OTHER],
}
#: What a filter can name.
FILTERS: Final = (*_ALLOWED, "q")


@dataclass(frozen=True)
class TaskFilter:
    """Tasks with all of these properties; without any, every task."""

    status: str | None = None
    stage: str | None = None
    #: what is finished or failed, by the state of its delivery; what still renders has nothing to deliver yet
    feishu: str | None = None
    workflow_type: str | None = None
    #: words that all occur in id, row, names, prompt_id, error or 提示词
    q: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TaskFilter:
        """Check what a caller sent; an empty value is none. Raises BadRequestError."""
        wanted = {name: values[name] for name in FILTERS if values.get(name)}
        for name, value in wanted.items():
            if name != "q" and value not in _ALLOWED[name]:
                raise BadRequestError(f"bad_{name}", f"{name} is one of {', '.join(_ALLOWED[name])}")
        if not isinstance(wanted.get("q", ""), str) or len(wanted.get("q", "")) > _MAX_TEXT:
            raise BadRequestError("bad_q", f"q is a text of at most {_MAX_TEXT} characters")
        return cls(**wanted)

    def among(self, entries: Sequence[TaskEntry]) -> Sequence[TaskEntry]:
        """The entries that match, in their order."""
        stages = tuple(
            stage for stage in Stage if self.stage in (None, stage.value) and self.status in (None, stage.status.value)
        )
        if self.feishu:
            stages = tuple(stage for stage in stages if stage.final)
            entries = [entry for entry in entries if entry.feishu_state == self.feishu]
        if len(stages) < len(Stage):
            entries = [entry for entry in entries if entry.stage in stages]
        if self.workflow_type:
            kind = None if self.workflow_type == OTHER else self.workflow_type
            entries = [entry for entry in entries if entry.workflow_type == kind]
        for word in (self.q or "").lower().split():
            prompts = {
                prompt for prompt in {entry.identity.prompt for entry in entries} if word in (prompt or "").lower()
            }
            entries = [entry for entry in entries if word in entry.text or entry.identity.prompt in prompts]
        return entries


@dataclass(frozen=True)
class TaskQuery:
    """One page of tasks, newest first: after `cursor` (the last task of the page before), or from `offset` on."""

    wanted: TaskFilter
    comfyui_task_id: str | None
    limit: int
    cursor: str | None
    offset: int

    @classmethod
    def of(cls, query: Mapping[str, str]) -> TaskQuery:
        """Check the parameters; raises BadRequestError."""
        known = {*FILTERS, "comfyui_task_id", "limit", "cursor", "offset"}
        unknown = sorted(set(query) - known)
        if unknown:
            raise BadRequestError("unknown_parameter", f"{', '.join(unknown)}: known are {', '.join(sorted(known))}")
        cursor = query.get("cursor") or None
        if cursor is not None and not is_task_id(cursor):
            raise BadRequestError("bad_cursor", "cursor is the next_cursor of an earlier answer")
        if cursor is not None and query.get("offset"):
            raise BadRequestError("bad_offset", "give either cursor or offset")
        return cls(
            TaskFilter.of(query),
            query.get("comfyui_task_id") or None,
            limit=_number("limit", query.get("limit") or "50", 1, MAX_LIMIT),
            cursor=cursor,
            offset=_number("offset", query.get("offset") or "0", 0, 10**9),
        )

    def page(self, db: DatabaseManager) -> dict[str, Any]:
        """The records of the page, how many tasks match in all, and the cursor where there are more."""
        everything = self._all(db)
        matching = self.wanted.among(everything)
        start = self.offset if self.cursor is None else _after(matching, self.cursor, everything)
        chosen = matching[start : start + self.limit]
        return {
            "tasks": [record for entry in chosen if (record := db.get_task(entry.task_id)) is not None],
            "next_cursor": chosen[-1].task_id if chosen and start + self.limit < len(matching) else None,
            "total": len(matching),
        }

    def _all(self, db: DatabaseManager) -> Sequence[TaskEntry]:
        if self.comfyui_task_id is None:
            return db.index.entries()
        found = db.index.find_by_prompt(self.comfyui_task_id)
        return () if found is None else (found,)


def row_number_in(query: Mapping[str, str]) -> int | None:
    """The row that a caller names; raises BadRequestError."""
    number = query.get("row_number")
    return _number("row_number", number, 1, 10**7) if number else None


def _after(matching: Sequence[TaskEntry], cursor: str, everything: Sequence[TaskEntry]) -> int:
    """Where the tasks begin that are older than `cursor`, which itself may match no longer, or be gone."""
    last = next((entry for entry in everything if entry.task_id == cursor), None)
    order = id_sort_key(cursor)
    older = (entry.order < last.order if last else id_sort_key(entry.task_id) < order for entry in matching)
    return next((position for position, is_older in enumerate(older) if is_older), len(matching))


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise BadRequestError(f"bad_{name}", f"{name} is a number from {least} to {most}")
    return int(text)
