"""`/wfrecovery/…`: status, tasks and what can be done with them. ComfyUI serves each under `/api` as well.

ComfyUI's own middlewares come first: a request of a foreign origin does not reach these handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from aiohttp import web

from ...bridge.apart import apart
from ...bridge.doctor.checks import Report
from ...bridge.feishu.client import FeishuClient
from ...bridge.feishu.deciding import choices
from ...bridge.feishu.errors import FeishuError, FeishuNotConfiguredError
from ...bridge.in_time import within
from ...bridge.results.contents import Contents
from ...bridge.settings import SettingsError
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.owner_list import BadOwnerError
from ...bridge.table.plain_json import to_plain
from ...bridge.table.record_json import record_to_json
from ...bridge.wording import Wording
from ..recovery.requests import Requests
from ..recovery.startup import StartupRecovery
from .actions import Action, Named, Selection, TaskActions
from .errors import BadRequestError, answering, json_body, language_of
from .preview import asking_tasks
from .result_files import NoThumbnailError, candidates_of, headers_of, result_file, results_of
from .settings import FixedSettingError, PageSettings
from .status import Status
from .task_query import TaskQuery, row_number_in
from .thumbnails import Thumbnails, etag_of

STATUS: Final = "/wfrecovery/status"
#: So long the first status waits for the table's id: who gets none takes this table for another than its own.
_NAMING_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Services:
    """What the routes ask, and have done."""

    db: DatabaseManager
    status: Status
    #: the table has its id, or could not be given one
    named: asyncio.Event
    recovery: StartupRecovery
    requests: Requests
    actions: TaskActions
    page_settings: PageSettings
    feishu: FeishuClient
    #: uses other settings from now on; raises SettingsError or OSError
    change_settings: Callable[[Mapping[str, Any]], None]
    #: the doctor's report; blocks while Feishu is asked
    examine: Callable[[], Report]


def add_routes(routes: web.RouteTableDef, services: Services) -> None:
    """Register our routes; ComfyUI takes them in when it starts."""
    _add_status(routes, services)
    _add_tasks(routes, services)
    _add_results(routes, services)
    _add_choices(routes, services)
    _add_actions(routes, services)
    _add_set_up(routes, services)


def _add_status(routes: web.RouteTableDef, services: Services) -> None:
    again: set[asyncio.Task[None]] = set()

    @routes.get(STATUS)
    @answering
    async def status(_: web.Request) -> web.Response:
        with contextlib.suppress(asyncio.TimeoutError):
            await within(_NAMING_SECONDS, services.named.wait())
        return web.json_response(await apart(services.status.now))

    @routes.get("/wfrecovery/preview")
    @answering
    async def preview(_: web.Request) -> web.Response:
        tasks = await apart(asking_tasks, services.db)
        return web.json_response({"boot_id": services.status.boot_id, "tasks": tasks})

    @routes.post("/wfrecovery/recover")
    @answering
    async def recover(request: web.Request) -> web.Response:
        body = await json_body(request)
        if "take_over" not in body:
            started = services.recovery.start()
            return web.json_response({"started": started, "recovery": asdict(services.recovery.state)}, status=202)
        try:
            taken = await apart(services.requests.take_over, body["take_over"])
        except BadOwnerError as error:
            raise BadRequestError("bad_owner", error.wording) from None
        started = services.recovery.start()
        if not started:  # one under way has not seen what is ours only now
            again.add(asyncio.create_task(_once_more(services.recovery, again)))
        told = {"started": started, "recovery": asdict(services.recovery.state), "taken_over": taken}
        return web.json_response(told, status=202)


def _add_tasks(routes: web.RouteTableDef, services: Services) -> None:
    table, thumbnails = services.db.table, Thumbnails()
    contents = Contents(table.files, table.output_dir)

    @routes.get("/wfrecovery/tasks")
    @answering
    async def tasks(request: web.Request) -> web.Response:
        query = TaskQuery.of(request.query)
        return web.json_response(await apart(query.page, services.db))

    @routes.get("/wfrecovery/tasks/{task_id}")
    @answering
    async def task(request: web.Request) -> web.Response:
        record = await apart(table.get, request.match_info["task_id"])
        return web.json_response(record_to_json(record))

    @routes.get("/wfrecovery/tasks/{task_id}/graph")
    @answering
    async def graph(request: web.Request) -> web.Response:
        record = await apart(table.get, request.match_info["task_id"])
        found = await apart(table.graph, record.task_id)
        if found is None:
            said = Wording(f"the graph of {record.task_id} was not recorded", f"没有记录 {record.task_id} 的工作流")
            raise BadRequestError("no_graph", said, 404)
        return web.json_response(to_plain({"prompt": found["prompt"], "workflow": _workflow(found)}))

    @routes.get("/wfrecovery/tasks/{task_id}/thumbnail")
    @answering
    async def thumbnail(request: web.Request) -> web.StreamResponse:
        record = await apart(table.get, request.match_info["task_id"])
        try:
            path = await apart(result_file, contents, record)
            etag = await apart(etag_of, path)
            # asked for again each time, and mostly answered with 304: a retry makes another picture
            headers = {"Cache-Control": "private, no-cache", "ETag": f'"{etag}"'}
            if any(known.value in (etag, "*") for known in request.if_none_match or ()):
                return web.Response(status=304, headers=headers)
            picture = await thumbnails.of(path, etag)
        except NoThumbnailError as error:
            raise BadRequestError("no_thumbnail", str(error), 404) from None
        return web.Response(body=picture, content_type="image/webp", headers=headers)


def _add_results(routes: web.RouteTableDef, services: Services) -> None:
    table = services.db.table
    contents = Contents(table.files, table.output_dir)

    @routes.get("/wfrecovery/tasks/{task_id}/results")
    @answering
    async def results(request: web.Request) -> web.Response:
        record = await apart(table.get, request.match_info["task_id"])
        told = await apart(results_of, contents, record, language_of(request))
        return web.json_response({"results": told})

    @routes.get("/wfrecovery/tasks/{task_id}/file")
    @answering
    async def file(request: web.Request) -> web.StreamResponse:
        record = await apart(table.get, request.match_info["task_id"])
        name = request.query.get("path")
        try:
            path = await apart(result_file, contents, record, name)
        except NoThumbnailError as error:
            raise BadRequestError("no_file", str(error), 404) from None
        return web.FileResponse(path, headers=await apart(headers_of, path, name or path.name))


def _add_choices(routes: web.RouteTableDef, services: Services) -> None:
    """What a person is shown before he decides."""
    db = services.db

    @routes.get("/wfrecovery/tasks/{task_id}/rows")
    @answering
    async def rows(request: web.Request) -> web.Response:
        number = row_number_in(request.query)
        with _feishu_refusals():
            found = await apart(choices, db, services.feishu, request.match_info["task_id"], number)
        return web.json_response({"rows": [asdict(row) for row in found]})

    @routes.get("/wfrecovery/tasks/{task_id}/candidates")
    @answering
    async def files(request: web.Request) -> web.Response:
        record = await apart(db.table.get, request.match_info["task_id"])
        return web.json_response({"files": await apart(candidates_of, db.output_dir, record)})


def _add_actions(routes: web.RouteTableDef, services: Services) -> None:
    @routes.post("/wfrecovery/tasks/{action}")
    @answering
    async def act_on_many(request: web.Request) -> web.Response:
        action = Action.of(request.match_info["action"])
        selection = Selection.of(await json_body(request))
        return web.json_response(
            await services.actions.act_on_many(action, selection, language_of(request)), status=202
        )

    @routes.post("/wfrecovery/tasks/{task_id}/{action}")
    @answering
    async def act(request: web.Request) -> web.Response:
        action = Action.of(request.match_info["action"])
        named = Named.of(action, await json_body(request))
        with _feishu_refusals():
            record = await services.actions.act(action, request.match_info["task_id"], named)
        return web.json_response(record_to_json(record), status=202)


@contextlib.contextmanager
def _feishu_refusals() -> Iterator[None]:
    """What Feishu refuses, as the answer to a request."""
    try:
        yield
    except FeishuNotConfiguredError as error:
        raise BadRequestError("not_configured", error.wording, 409) from None
    except FeishuError as error:
        raise BadRequestError("feishu", error.wording, 502) from None


def _add_set_up(routes: web.RouteTableDef, services: Services) -> None:
    @routes.get("/wfrecovery/settings")
    @answering
    async def settings(_: web.Request) -> web.Response:
        return web.json_response(services.page_settings.shown())

    @routes.post("/wfrecovery/settings")
    @answering
    async def change_settings(request: web.Request) -> web.Response:
        values = await json_body(request)
        try:
            await apart(services.change_settings, values)
        except FixedSettingError as error:
            raise BadRequestError("fixed_setting", str(error), 409) from None
        except SettingsError as error:
            raise BadRequestError("bad_setting", str(error)) from None
        return web.json_response(services.page_settings.shown())

    @routes.get("/wfrecovery/sheet")
    @answering
    async def sheet(_: web.Request) -> web.Response:
        with _feishu_refusals():
            url = await apart(services.feishu.sheet_url)
        if not url:
            said = Wording("Feishu gave no address for the spreadsheet", "飞书没有返回电子表格的网址")
            raise BadRequestError("feishu", said, 502)
        return web.json_response({"url": url})

    @routes.get("/wfrecovery/doctor")
    @answering
    async def doctor(request: web.Request) -> web.Response:
        report = await apart(services.examine)
        return web.json_response(report.to_json(language_of(request)))


async def _once_more(recovery: StartupRecovery, among: set[asyncio.Task[None]]) -> None:
    """Recover when the recovery is over that is under way."""
    await recovery.ended()
    recovery.start()
    among.discard(cast("asyncio.Task[None]", asyncio.current_task()))


def _workflow(graph: dict[str, Any]) -> dict[str, Any] | None:
    """What the page drew, as it came along with the prompt."""
    png_info = (graph.get("extra_data") or {}).get("extra_pnginfo")
    workflow = png_info.get("workflow") if isinstance(png_info, dict) else None
    return workflow if isinstance(workflow, dict) and workflow else None
