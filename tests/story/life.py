"""One life of ComfyUI inside the test's own process, from its start to SIGKILL.

Queue, validation, cache and executor are the stand-in's; only threads and sockets are not there. The worker goes one
turn at a time, the plugin's writing thread at once or later, and whatever is asked over HTTP is asked of the handlers.
After SIGKILL nothing that the life has left behind changes the disk any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from process import MOST_PASSES, Computer, Pen, Process
from savers import turn

from wfrecovery.bridge.feishu.publisher import FlushReport, Publisher
from wfrecovery.demo.comfyui_host import execution, model_management
from wfrecovery.demo.comfyui_host.options import options
from wfrecovery.demo.comfyui_host.server import PromptServer
from wfrecovery.server_routes.plugin import Plugin, Surroundings

#: Functions of ComfyUI in whose place a plugin puts its own; as ComfyUI has them, before any plugin listens.
HEARD: tuple[tuple[Any, str], ...] = (
    (model_management, "interrupt_current_processing"),
    (execution, "validate_prompt"),
    (execution, "get_output_data"),
)
UNHEARD = [getattr(module, name) for module, name in HEARD]

Handler = Callable[[Any], Awaitable[Any]]
#: Turns that all prompts in the queue may take.
MOST_TURNS = 2000


def _put(functions: list[Any]) -> list[Any]:
    """Have ComfyUI's functions be these; what they were."""
    before = [getattr(module, name) for module, name in HEARD]
    for (module, name), function in zip(HEARD, functions, strict=True):
        setattr(module, name, function)
    return before


class Beside:
    """A thread that does what it is told while the other waits: ComfyUI's worker has one of its own."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="Thread-1 (prompt_worker)", daemon=True).start()

    def do(self, order: Callable[[], Any]) -> Any:
        self._orders.put(order)
        answer, error = self._answers.get()
        if error is not None:
            raise error
        return answer

    def _run(self) -> None:
        while True:
            order = self._orders.get()
            try:
                answer, error = order(), None
            except BaseException as raised:
                answer, error = None, raised
            self._answers.put((answer, error))
            del order, answer, error


BESIDE = Beside()


class Request:
    """As much of a request as handlers look at."""

    def __init__(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, **match: str
    ) -> None:
        self.method, self.path, self.match_info = method, path, match
        self.headers, self.query, self.content_type = {}, dict(query or {}), "application/json"
        self._body = json.dumps(body or {})
        self.content_length, self.content = len(self._body), self

    async def json(self) -> Any:
        return json.loads(self._body)

    async def iter_chunked(self, _block: int) -> AsyncIterator[bytes]:
        yield self._body.encode()


class Server(PromptServer):
    """The stand-in's prompt server without sockets and pages."""

    def __init__(self, loop: asyncio.AbstractEventLoop, accepted: Callable[[], None]) -> None:
        self.loop, self.accepted = loop, accepted
        self.prompt_queue = execution.PromptQueue(self)
        self.number = 0
        self.address, self.port = "127.0.0.1", 8188
        self.app = SimpleNamespace(middlewares=[], on_startup=[])
        self.routes = web.RouteTableDef()
        self.sockets = {}
        self.last_node_id = self.last_prompt_id = self.client_id = self.progress = None
        self.on_prompt_handlers = []
        self._add_prompt_routes()

    async def _post_prompt(self, request: web.Request) -> web.Response:
        response = await super()._post_prompt(request)
        self.accepted()
        return response

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        """Nobody listens."""


class Worker:
    """ComfyUI's worker, a turn at a time. `began` is told each prompt that it takes; `late`: it comes to the queue when
    the plugins listen already."""

    def __init__(self, life: Life, server: Server, began: Callable[[Any], None], late: bool) -> None:
        self._life, self._server, self._queue, self._began = life, server, server.prompt_queue, began
        self._late = late
        self.executor = execution.PromptExecutor(server)
        self._prompt: Coroutine[Any, Any, None] | None = None
        self._waits = True

    def accepted(self) -> None:
        """The first prompt is taken as soon as it is there by a worker that waits in `get` since before any plugin
        came."""
        if self._waits and not self._late:
            BESIDE.do(self._take)

    def turn(self) -> bool:
        """One turn; False when there is nothing to do."""
        with self._life.on():
            return bool(BESIDE.do(self._turn))

    @property
    def waits(self) -> bool:
        """Whether it has taken nothing yet."""
        return self._waits

    @property
    def idle(self) -> bool:
        """Whether it runs nothing."""
        return self._prompt is None

    def die(self) -> None:
        if self._prompt is not None:
            BESIDE.do(self._prompt.close)

    def _turn(self) -> bool:
        if self._prompt is None and not self._take():
            return False
        assert self._prompt is not None
        try:
            self._prompt.send(None)
        except StopIteration:
            self._prompt = None
        return True

    def _take(self) -> bool:
        with self._life.pen.at_once():
            unheard = self._waits and not self._late
            get = type(self._queue).get.__get__(self._queue) if unheard else self._queue.get
            taken = get(timeout=0)
        if taken is None:
            return False
        self._waits = False
        self._prompt = self._work(*taken)
        self._began(taken[0])
        return True

    async def _work(self, item: tuple[Any, ...], item_id: int) -> None:
        prompt_id = self._server.last_prompt_id = item[1]
        await turn("begin")
        extra_data, further = item[3], {}
        if options.six:
            extra_data, further = {**item[3], **item[5]}, {"process_item": lambda done: done[:5] + done[6:]}
        await self.executor.execute_async(item[2], prompt_id, extra_data, item[4])
        await turn("ended")
        ended = execution.ExecutionStatus(
            status_str="success" if self.executor.success else "error",
            completed=self.executor.success,
            messages=self.executor.status_messages,
        )
        self._queue.task_done(item_id, self.executor.history_result, status=ended, **further)


class Hands:
    """The publishing thread, moved by hand."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.started = False

    def start(self) -> None:
        self.started = True
        self.publisher.unblock()

    def wake(self) -> None:
        """It is flushed when the story says so."""


class Life(Process):
    """One ComfyUI process with the plugin in it."""

    def __init__(
        self,
        computer: Computer,
        *,
        began: Callable[[Any], None],
        session: Callable[[Life], Any] | None = None,
        clock: Callable[[], float] = time.time,
        late: bool = False,
    ) -> None:
        super().__init__(computer)
        self.pen, self._reader = Pen(), Pen()
        self._interrupted = threading.Event()
        self._functions = UNHEARD
        pools = {"wfrecovery-writer": self.pen, "wfrecovery-reader": self._reader}
        self.server = Server(self.loop, self._accepted)
        self.worker = Worker(self, self.server, began, late)
        self._around = Surroundings(
            disk=self.disk,
            session=session(self) if session is not None else None,
            clock=clock,
            pool=pools.__getitem__,
            pause=self.pause,
            owners=computer.owners(),
            publishing=self._hands,  # type: ignore[arg-type]
            watches=False,
        )
        self.hands: Hands | None = None

    def _accepted(self) -> None:
        self.worker.accepted()

    def _hands(self, publisher: Publisher) -> Hands:
        self.hands = Hands(publisher)
        return self.hands

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """ComfyUI's functions are this process's own, and so is who listens to them."""
        before, interrupted = _put(self._functions), model_management._interrupted
        model_management._interrupted = self._interrupted
        try:
            with super().on():
                yield
        finally:
            self._functions, model_management._interrupted = _put(before), interrupted

    def bury(self) -> None:
        """Take away what is left in memory."""
        self.dead = True
        with self.on():
            self.worker.die()
        super().bury()

    # ------------------------------------------------------------------ what is asked of it

    def boot(self, passes: Callable[[], None] | None = None) -> None:
        """Load the plugin, start, and let the recovery come to its end; `passes` is called between its steps."""
        self.load()
        self.run(self._recovered(passes))

    def load(self) -> None:
        """Load the plugin and start; what it then does by itself is still to come."""
        with self.on():
            self.plugin = Plugin(self.server, self._around)
            self.opened(self.plugin._db)
            self.plugin.install()
        self.run(self._start())

    async def _start(self) -> None:
        for start in self.server.app.on_startup:
            await start(self.server.app)

    async def _recovered(self, passes: Callable[[], None] | None = None) -> None:
        for _ in range(MOST_PASSES):
            state = self.plugin._recovery.state
            if state.finished_at is not None and state.state == "idle":
                return
            await asyncio.sleep(0)
            self.check()
            if passes is not None:
                passes()
        raise AssertionError("the recovery does not come to its end")

    def post(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """`POST /prompt`: status and answer."""
        return self.ask("/prompt", body)

    def route(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """Who answers that, and what stands in the place of the names in its path."""
        parts = path.split("/")
        for route in self.server.routes:
            names = route.path.split("/")
            if route.method == method and len(names) == len(parts):
                match = {name[1:-1]: part for name, part in zip(names, parts, strict=True) if name.startswith("{")}
                if all(name == part or name.startswith("{") for name, part in zip(names, parts, strict=True)):
                    return route.handler, match
        return None

    async def served(self, request: Request, handler: Handler) -> web.Response:
        """The answer, through the plugin's middleware."""
        return await self.server.app.middlewares[0](request, handler)

    def ask(self, path: str, body: Any = None, method: str = "POST") -> tuple[int, Any]:
        """Somebody asks: status and answer."""
        found = self.route(method, path)
        assert found is not None, path
        response = self.run(self.served(Request(method, path, body, **found[1]), found[0]))
        return response.status, json.loads(response.text) if response.text else None

    def act(self, task_id: str, action: str) -> int:
        """Retry or push, as the page's button does."""
        return self.ask(f"/wfrecovery/tasks/{task_id}/{action}")[0]

    def recover(self) -> None:
        """What the page's menu does, to its end."""

        async def recover() -> None:
            self.plugin._recovery.start()
            await self._recovered()

        self.run(recover())

    def flush(self) -> FlushReport | None:
        """What the publishing thread does when it wakes; None where publishing is off."""
        self.check()
        with self.on():
            return self.hands.publisher.flush() if self.hands is not None and self.hands.started else None
