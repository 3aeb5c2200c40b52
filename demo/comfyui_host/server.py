"""``server``: the prompt server with its classic routes, its websocket and its order of start."""

from __future__ import annotations

import asyncio
import json
import logging
import mimetypes
import time
import traceback
import urllib.parse
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from aiohttp import web

from . import execution, folder_paths, jobs, nodes
from .file_routes import add_file_routes
from .options import options
from .page_routes import FEATURES, MAX_UPLOAD, UserManager, add_page_routes
from .progress import Progress

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ID_RULE = (
    "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one"
)


@web.middleware
async def cache_control(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Scripts and styles are never served stale."""
    response = await handler(request)
    if request.path.endswith((".js", ".css")):
        response.headers.setdefault("Cache-Control", "no-store" if options.six else "no-cache")
    return response


@web.middleware
async def origin_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what another site's page sends to this computer. Requests without Origin (scripts) pass."""
    if options.six and request.headers.get("Sec-Fetch-Site") == "cross-site":
        # 0.18.1 on.
        return web.Response(status=403)
    if "Host" in request.headers and "Origin" in request.headers:
        host = urllib.parse.urlsplit(f"//{request.headers['Host'].lower()}")
        origin = urllib.parse.urlsplit(request.headers["Origin"].lower())
        both_ports = host.port is not None and origin.port is not None
        same = host.hostname == origin.hostname and (not both_ports or host.port == origin.port)
        if _is_loopback(host.hostname) and origin.hostname and not same:
            logging.warning("WARNING: request with non matching host and origin, returning 403")
            return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)


def _is_loopback(host: str | None) -> bool:
    return host is not None and (host in {"localhost", "::1"} or host.startswith("127."))


def _is_canonical_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


class PromptServer:
    """Takes prompts over HTTP, tells the page over the websocket."""

    instance: PromptServer

    # ``address`` and ``port`` are set once the port is open: plugins wait for them with hasattr.
    address: str
    port: int

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        PromptServer.instance = self
        mimetypes.init()
        mimetypes.add_type("application/javascript; charset=utf-8", ".js")
        mimetypes.add_type("application/javascript; charset=utf-8", ".mjs")
        self.loop = loop
        self.user_manager = UserManager()
        self.supports = ["custom_nodes_from_web"]
        self.prompt_queue = execution.PromptQueue(self)
        self.messages: asyncio.Queue[tuple[str, Any, str | None]] = asyncio.Queue()
        self.client_session: aiohttp.ClientSession | None = None
        self.number = 0
        self.app = web.Application(client_max_size=MAX_UPLOAD, middlewares=[cache_control, origin_only])
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.sockets_metadata: dict[str, dict[str, Any]] = {}
        self.web_root = None if options.front_end_root is None else str(options.front_end_root.resolve())
        self.routes = web.RouteTableDef()
        self.last_node_id: str | None = None
        self.last_prompt_id: str | None = None
        self.client_id: str | None = None
        self.on_prompt_handlers: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        #: of the running prompt
        self.progress: Progress | None = None
        self._add_prompt_routes()
        add_file_routes(self.routes)
        add_page_routes(self.routes, self.web_root)
        self.user_manager.add_routes(self.routes)

    # -- prompts, queue, history ------------------------------------------------------------------------------

    def _add_prompt_routes(self) -> None:
        routes = self.routes
        routes.get("/ws")(self._websocket)
        routes.get("/prompt")(self._get_prompt)
        routes.post("/prompt")(self._post_prompt)
        routes.get("/queue")(self._get_queue)
        routes.post("/queue")(self._post_queue)
        routes.post("/interrupt")(self._post_interrupt)
        routes.post("/free")(self._post_free)
        routes.get("/history")(self._get_history)
        routes.get("/history/{prompt_id}")(self._get_history_entry)
        routes.post("/history")(self._post_history)
        if options.six:
            jobs.add_routes(routes, self.prompt_queue)

    async def _get_prompt(self, request: web.Request) -> web.Response:
        return web.json_response(self.get_queue_info())

    async def _post_prompt(self, request: web.Request) -> web.Response:
        logging.info("got prompt")
        # A body that is not JSON escapes as a 500, and handlers run before anything is checked: both as ComfyUI.
        json_data = self.trigger_on_prompt(await request.json())
        number = self._take_number(json_data)
        if "prompt" not in json_data:
            return _refuse({"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided"})
        prompt = json_data["prompt"]
        prompt_id = self._prompt_id(json_data)
        if prompt_id is None:
            error = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID", "details": _ID_RULE}
            return _refuse(error)
        targets = json_data.get("partial_execution_targets")
        valid, problem, outputs, node_errors = await execution.validate_prompt(prompt_id, prompt, targets)
        extra_data = json_data.get("extra_data", {})
        if "client_id" in json_data:
            extra_data["client_id"] = json_data["client_id"]
        if options.six and request.headers.get("Comfy-Usage-Source"):
            extra_data["comfy_usage_source"] = request.headers["Comfy-Usage-Source"]
        if not valid:
            logging.warning("invalid prompt: %s", problem)
            return web.json_response({"error": problem, "node_errors": node_errors}, status=400)
        self.prompt_queue.put(self._item(number, prompt_id, prompt, extra_data, outputs))
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": node_errors})

    def _take_number(self, json_data: dict[str, Any]) -> float:
        """Lower runs first. The counter is used up even when the prompt is refused afterwards."""
        if "number" in json_data:
            return float(json_data["number"])
        number = -self.number if json_data.get("front") else self.number
        self.number += 1
        return number

    def _prompt_id(self, json_data: dict[str, Any]) -> str | None:
        """The id, or None when it is refused. No version checks that it is unique."""
        if not options.six:
            # 0.3.64: anything goes, null becomes "None".
            return str(json_data.get("prompt_id", uuid.uuid4()))
        given = json_data.get("prompt_id")
        if given is None:
            return str(uuid.uuid4())
        # 0.24.0 on.
        return given if _is_canonical_uuid(given) else None

    def _item(
        self, number: float, prompt_id: str, prompt: Any, extra_data: dict[str, Any], outputs: list[str]
    ) -> tuple[Any, ...]:
        if not options.six:
            return number, prompt_id, prompt, extra_data, outputs
        keys = [key for key in execution.SENSITIVE_EXTRA_DATA_KEYS if key in extra_data]
        sensitive = {key: extra_data.pop(key) for key in keys}
        extra_data["create_time"] = int(time.time() * 1000)
        return number, prompt_id, prompt, extra_data, outputs, sensitive

    async def _get_queue(self, request: web.Request) -> web.Response:
        running, pending = self.prompt_queue.get_current_queue_volatile()
        if options.six:
            running, pending = [item[:5] for item in running], [item[:5] for item in pending]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _post_queue(self, request: web.Request) -> web.Response:
        json_data = await request.json()
        if json_data.get("clear"):
            self.prompt_queue.wipe_queue()
        for wanted in json_data.get("delete", []):
            self.prompt_queue.delete_queue_item(lambda item, wanted=wanted: bool(item[1] == wanted))  # type: ignore[misc]
        return web.Response(status=200)

    async def _post_interrupt(self, request: web.Request) -> web.Response:
        try:
            json_data = await request.json()
        except json.JSONDecodeError:
            json_data = {}
        prompt_id = json_data.get("prompt_id")
        if not prompt_id:
            logging.info("Global interrupt (no prompt_id specified)")
            nodes.interrupt_processing()
        elif any(item[1] == prompt_id for item in self.prompt_queue.get_current_queue()[0]):
            logging.info("Interrupting prompt %s", prompt_id)
            nodes.interrupt_processing()
        return web.Response(status=200)

    async def _post_free(self, request: web.Request) -> web.Response:
        json_data = await request.json()
        for flag in ("unload_models", "free_memory"):
            if json_data.get(flag, False):
                self.prompt_queue.set_flag(flag, json_data[flag])
        return web.Response(status=200)

    async def _get_history(self, request: web.Request) -> web.Response:
        query = request.rel_url.query
        max_items = int(query["max_items"]) if "max_items" in query else None
        entries = self.prompt_queue.get_history(max_items=max_items, offset=int(query.get("offset", -1)))
        return web.json_response(entries)

    async def _get_history_entry(self, request: web.Request) -> web.Response:
        return web.json_response(self.prompt_queue.get_history(prompt_id=request.match_info["prompt_id"]))

    async def _post_history(self, request: web.Request) -> web.Response:
        json_data = await request.json()
        if json_data.get("clear"):
            self.prompt_queue.wipe_history()
        for prompt_id in json_data.get("delete", []):
            self.prompt_queue.delete_history_item(prompt_id)
        return web.Response(status=200)

    def add_on_prompt_handler(self, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Let a plugin see (and change) every posted prompt before it is validated."""
        self.on_prompt_handlers.append(handler)

    def trigger_on_prompt(self, json_data: dict[str, Any]) -> dict[str, Any]:
        """Call the handlers in turn; one that raises is logged and has changed nothing but what it changed in place."""
        for handler in self.on_prompt_handlers:
            try:
                json_data = handler(json_data)
            except Exception:
                logging.warning("[ERROR] An error occurred during the on_prompt_handler processing")
                logging.warning("%s", traceback.format_exc())
        return json_data

    def get_queue_info(self) -> dict[str, Any]:
        """How much is left to do."""
        return {"exec_info": {"queue_remaining": self.prompt_queue.get_tasks_remaining()}}

    # -- websocket --------------------------------------------------------------------------------------------

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.rel_url.query.get("clientId", "") or uuid.uuid4().hex
        self.sockets[sid] = socket
        self.sockets_metadata[sid] = {"feature_flags": {}}
        try:
            await self.send("status", {"status": self.get_queue_info(), "sid": sid}, sid)
            if self.client_id == sid and self.last_node_id is not None:
                # A page that comes back learns what its prompt is doing.
                await self.send("executing", {"node": self.last_node_id}, sid)
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    await self._client_message(sid, message.data)
        finally:
            self.sockets.pop(sid, None)
            self.sockets_metadata.pop(sid, None)
        return socket

    async def _client_message(self, sid: str, text: str) -> None:
        try:
            message = json.loads(text)
        except json.JSONDecodeError:
            logging.warning("Invalid JSON received from client %s", sid)
            return
        if message.get("type") == "feature_flags":
            self.sockets_metadata[sid]["feature_flags"] = message.get("data", {})
            await self.send("feature_flags", FEATURES, sid)

    async def send(self, event: str, data: Any, sid: str | None = None) -> None:
        """Send to one client, or to all. A client that is gone is no error."""
        sockets = list(self.sockets.values()) if sid is None else [self.sockets[sid]] if sid in self.sockets else []
        for socket in sockets:
            try:
                await socket.send_json({"type": event, "data": data})
            except (aiohttp.ClientError, ConnectionError) as error:
                logging.warning("send error: %s", error)

    send_json = send

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        """Send from any thread."""
        self.loop.call_soon_threadsafe(self.messages.put_nowait, (event, data, sid))

    def queue_updated(self) -> None:
        """Tell all how much is left to do."""
        self.send_sync("status", {"status": self.get_queue_info()})

    async def publish_loop(self) -> None:
        """Send what other threads left, in order."""
        while True:
            await self.send(*await self.messages.get())

    # -- start ------------------------------------------------------------------------------------------------

    def add_routes(self) -> None:
        """Fix the set of routes: each at its path and under /api, then the plugins' files, then the page."""
        doubled = web.RouteTableDef()
        for route in self.routes:
            if isinstance(route, web.RouteDef):
                doubled.route(route.method, f"/api{route.path}")(route.handler, **route.kwargs)
        for name, folder in nodes.LOADED_MODULE_DIRS.items():
            workflows = f"{folder}/example_workflows"
            if folder_paths.is_folder(workflows):
                self.app.add_routes([web.static(f"/api/workflow_templates/{name}", workflows)])
        self.app.add_routes(doubled)
        self.app.add_routes(self.routes)
        for name, folder in nodes.EXTENSION_WEB_DIRS.items():
            self.app.add_routes([web.static(f"/extensions/{name}", folder)])
        if self.web_root is not None:
            self.app.add_routes([web.static("/", self.web_root)])

    async def setup(self) -> None:
        """Before the start: the session that plugins may use."""
        self.client_session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))

    async def start_multi_address(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Run the ``on_startup`` handlers, then open the ports; ``address`` and ``port`` are there from then on.

        An exception in a handler ends the process. Nobody ever calls ``runner.cleanup()``: as in ComfyUI
        ``on_shutdown`` and ``on_cleanup`` never fire.
        """
        runner = web.AppRunner(self.app, access_log=None)
        await runner.setup()
        logging.info("Starting server\n")
        for address, port in addresses:
            await web.TCPSite(runner, address, port).start()
            if not hasattr(self, "port"):
                self.address, self.port = address, port
        logging.info("To see the GUI go to: http://%s:%s", self.address, self.port)


def _refuse(error: dict[str, Any]) -> web.Response:
    return web.json_response({"error": {**error, "extra_info": {}}, "node_errors": {}}, status=400)
