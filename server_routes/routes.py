"""`/wfrecovery/…`: status, tasks and what can be done with them. ComfyUI serves each under `/api` as well."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ..bridge.records import KINDS, TaskError, TaskRecord, WorkflowStatus, is_task_id
from ..bridge.redact import redact
from ..bridge.workflow_database import UnknownTaskError

if TYPE_CHECKING:
    from .plugin import Plugin

log = logging.getLogger("wfrecovery")

MAX_LIMIT: Final = 200
#: A page of another origin can send these without asking first (CORS "simple requests"), so they are refused.
_FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequestError(ValueError):
    """The request cannot be answered; `kind` and the text go to the caller."""

    def __init__(self, kind: str, message: str, status: int = 400) -> None:
        self.kind, self.status = kind, status
        super().__init__(message)


def error_response(kind: str, message: str, status: int) -> web.Response:
    """`{"error": {"type", "message"}}`."""
    return web.json_response({"error": {"type": kind, "message": redact(message)}}, status=status)


def _answering(handler: Handler) -> Handler:
    """Every error as JSON with the right status, none as ComfyUI's 500 page."""

    @functools.wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            if request.method == "POST" and request.content_type in _FORM_TYPES and request.headers.get("Content-Type"):
                raise BadRequestError("content_type", "send application/json, or no body", 415)
            return await handler(request)
        except BadRequestError as error:
            return error_response(error.kind, str(error), error.status)
        except UnknownTaskError as error:
            return error_response("unknown_task", str(error), 404)
        except TaskError as error:
            return error_response("not_possible", str(error), 409)
        except OSError as error:
            log.error("[wfrecovery] %s %s: %s", request.method, request.path, error)
            return error_response("disk", f"the task table cannot be used: {error.strerror or error}", 503)

    return answer


def add_routes(routes: web.RouteTableDef, plugin: Plugin) -> None:
    """Register our routes; ComfyUI takes them in when it starts."""

    @routes.get("/wfrecovery/status")
    @_answering
    async def status(_: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(plugin.status))

    @routes.get("/wfrecovery/tasks")
    @_answering
    async def tasks(request: web.Request) -> web.Response:
        query = TaskQuery.of(request.query)
        return web.json_response(await asyncio.to_thread(query.page, plugin))

    @routes.get("/wfrecovery/tasks/{task_id}")
    @_answering
    async def task(request: web.Request) -> web.Response:
        record = await asyncio.to_thread(plugin.db.table.get, request.match_info["task_id"])
        return web.json_response(record.to_json())

    @routes.post("/wfrecovery/recover")
    @_answering
    async def recover(_: web.Request) -> web.Response:
        started = plugin.recovery.start()
        return web.json_response({"started": started, "recovery": asdict(plugin.recovery.state)}, status=202)

    @routes.post("/wfrecovery/tasks/{task_id}/{action}")
    @_answering
    async def act(request: web.Request) -> web.Response:
        task_id, action = request.match_info["task_id"], request.match_info["action"]
        match action:
            case "retry":
                await plugin.recovery.retry(task_id)
            case "push":
                await asyncio.to_thread(plugin.push_again, task_id)
            case "cancel":
                await plugin.recovery.cancel(task_id)
            case _:
                raise BadRequestError("unknown_action", f"{action!r} is not one of retry, push, cancel", 404)
        return web.json_response((await asyncio.to_thread(plugin.db.table.get, task_id)).to_json(), status=202)


class TaskQuery:
    """The filter of `GET /wfrecovery/tasks`; newest first, `next_cursor` for the following page."""

    def __init__(self, *, limit: int, cursor: str | None, filters: Mapping[str, str]) -> None:
        self._limit, self._cursor, self._filters = limit, cursor, filters

    @classmethod
    def of(cls, query: Mapping[str, str]) -> TaskQuery:
        """Check the parameters; raises BadRequestError."""
        known = {"status", "workflow_type", "comfyui_task_id", "q", "limit", "cursor"}
        unknown = sorted(set(query) - known)
        if unknown:
            raise BadRequestError("unknown_parameter", f"{', '.join(unknown)}: known are {', '.join(sorted(known))}")
        _one_of("status", query.get("status"), [item.value for item in WorkflowStatus])
        _one_of("workflow_type", query.get("workflow_type"), [kind for kind in KINDS if kind])
        cursor = query.get("cursor") or None
        if cursor is not None and not is_task_id(cursor):
            raise BadRequestError("bad_cursor", "cursor is the next_cursor of an earlier answer")
        limit = query.get("limit") or "50"
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= MAX_LIMIT):
            raise BadRequestError("bad_limit", f"limit is a number from 1 to {MAX_LIMIT}")
        filters = {name: query[name] for name in ("status", "workflow_type", "comfyui_task_id", "q") if query.get(name)}
        return cls(limit=int(limit), cursor=cursor, filters=filters)

    def page(self, plugin: Plugin) -> dict[str, Any]:
        """The matching records, and the cursor where there are more."""
        table = plugin.db.table
        if "comfyui_task_id" in self._filters:
            entry = plugin.db.index.find_by_prompt(self._filters["comfyui_task_id"])
            record = table.look(entry.task_id) if entry is not None else None
            matching = [record.to_json()] if record is not None and self._matches(record) else []
            return {"tasks": matching, "next_cursor": None}
        found: list[dict[str, Any]] = []
        waiting = self._cursor is not None
        for task_id in table.ids():
            if waiting:
                waiting = task_id != self._cursor
                continue
            with contextlib.suppress(TaskError, OSError):
                record = table.get(task_id)
                if self._matches(record):
                    if len(found) == self._limit:
                        return {"tasks": found, "next_cursor": found[-1]["task_id"]}
                    found.append(record.to_json())
        return {"tasks": found, "next_cursor": None}

    def _matches(self, record: TaskRecord) -> bool:
        wanted = self._filters
        text = (
            f"{record.task_id} {record.row_number} {record.product_name} {record.model_name} {record.comfyui_task_id}"
        )
        return (
            wanted.get("status") in (None, record.status.value)
            and wanted.get("workflow_type") in (None, record.workflow_type)
            and wanted.get("q", "").lower() in text.lower()
        )


def _one_of(name: str, value: str | None, allowed: list[str]) -> None:
    if value and value not in allowed:
        raise BadRequestError(f"bad_{name}", f"{name} is one of {', '.join(allowed)}")
