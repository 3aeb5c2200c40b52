"""The parts of the plugin, put together; and the moment at which ComfyUI is up."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import requests
from aiohttp import web

from ..bridge.apart import apart
from ..bridge.doctor.checks import Report
from ..bridge.feishu.client import FeishuClient
from ..bridge.feishu.publisher import Publisher
from ..bridge.results.contents import Contents
from ..bridge.settings import Settings
from ..bridge.table import lives as owners
from ..bridge.table.disk import Disk
from ..bridge.table.folder_test import tested
from ..bridge.table.manager import DatabaseManager
from ..bridge.table.owner_list import SHORT
from ..bridge.table.records import Stage, TaskError, TaskRecord, now_text
from ..bridge.table.values import FeishuState, OwnerKind
from .host import Host
from .orderly import OrderlyEnd
from .page.actions import TaskActions
from .page.browser_cache import ask_for_newer_modules
from .page.events import Events
from .page.routes import Services, add_routes
from .page.settings import PageSettings
from .page.status import Status
from .publishing.declining import decline_others
from .publishing.group import GroupReporter
from .publishing.standstill import StandstillThread
from .publishing.thread import PublishingThread
from .queue.ending import Endings
from .queue.intake import Intake
from .queue.named import prompts_to_end
from .queue.prompts import Prompts
from .queue.recorder import Recorder
from .queue.writing import PATIENCE_SECONDS, WISH_SECONDS, Pool, Writer, one_thread
from .recovery.requests import Requests
from .recovery.requeueing import Requeueing
from .recovery.retention import Retention
from .recovery.startup import StartupRecovery
from .recovery.watch import Watch

log = logging.getLogger("wfrecovery")

_PROMPT_PATHS: Final = frozenset({"/prompt", "/api/prompt"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Surroundings:
    """The computer that the plugin runs on. Tests put one of their own in its place."""

    disk: Disk | None = None
    #: by which Feishu is reached
    session: requests.Session | None = None
    clock: Callable[[], float] = time.time
    pool: Pool = one_thread
    pause: Callable[[float], None] = time.sleep
    owners: owners.Surroundings = field(default_factory=owners.Surroundings)
    publishing: Callable[[Publisher], PublishingThread] = PublishingThread
    #: whether a thread of its own looks if the batch stands still
    watches: bool = True


class Plugin:
    """One ComfyUI process with wfrecovery in it."""

    def __init__(self, server: Any, around: Surroundings | None = None) -> None:
        around = around or Surroundings()
        self._host = Host(server)
        started = now_text()
        #: tells a restart; sorts by time
        self._boot_id = f"{started}/{uuid.uuid4()}"
        self._page_settings = PageSettings(self._host.private_dir)
        self._db = DatabaseManager(
            self._host.output_dir, disk=around.disk, kind=OwnerKind.COMFYUI, around=around.owners
        )
        self._feishu = FeishuClient(self._settings, session=around.session)
        self._publisher = Publisher(self._db, self._feishu, clock=around.clock, on_change=self._changed)
        self._publishing = around.publishing(self._publisher)
        self._group = GroupReporter(self._db, self._feishu)
        self._standstill, self._watches = StandstillThread(self._db, lambda: self._settings), around.watches
        self._writer = Writer(around.pool, pause=around.pause, takes_others=self._db.table.takes_others)
        self._prompts = Prompts()
        self._intake = Intake(self._db, self._writer, self._prompts, self._records_others)
        self._orderly = OrderlyEnd(
            self._ends_well,
            unmark=self._db.owners.not_ending,
            in_prompt=lambda: self._recorder.in_prompt(),  # noqa: PLW0108 - it is made below
        )
        endings = Endings(self._db.output_dir, Contents(self._db.table.files, self._db.output_dir))
        self._events = Events(
            self._db,
            status=self._status_now,
            connected=lambda: bool(server.sockets),
            send=server.send_sync,
        )
        self._recorder = Recorder(
            self._host,
            self._db,
            self._writer,
            intake=self._intake,
            prompts=self._prompts,
            endings=endings,
            boot=self._boot_id,
            document=lambda: self._settings.document,
            on_change=self._changed,
            on_progress=self._progressed,
            on_start=self._orderly.goes_on,
            unwanted=lambda meant: self._recovery.unwanted(meant),  # noqa: PLW0108 - it is made below
            pool=around.pool,
        )
        requeueing = Requeueing(self._host, self._db, self._intake, self._writer, self._changed)
        self._requests = Requests(
            self._host,
            self._db,
            self._writer,
            requeueing,
            may_be_whole=self._may_be_whole,
            on_change=self._changed,
        )
        self._recovery = StartupRecovery(
            host=self._host,
            db=self._db,
            requeueing=requeueing,
            requests=self._requests,
            writer=self._writer,
            endings=endings,
            settings=lambda: self._settings,
            on_change=self._changed,
            on_progress=self._events.changed,
        )
        self._watch = Watch(self._db, self._recovery, self._requests, self._recorder, self._writer)
        self._named = asyncio.Event()
        self._retention = Retention(self._db, lambda: self._settings.keep_days)
        self._status = Status(
            host=self._host,
            db=self._db,
            writer=self._writer,
            recovery=self._recovery,
            publisher=self._publisher,
            page_settings=self._page_settings,
            standstill=self._standstill.now,
            boot_id=self._boot_id,
            started=started,
        )

    @property
    def _settings(self) -> Settings:
        """What applies now."""
        return self._page_settings.current

    def _status_now(self) -> dict[str, Any]:
        return self._status.now()

    def _may_be_whole(self, task: TaskRecord) -> bool:
        return self._prompts.has_begun(task.task_id) or self._recovery.is_about_to_decide(task)

    def _records_others(self) -> bool:
        return self._settings.record_other_prompts

    # ------------------------------------------------------------------ starting

    def install(self) -> None:
        """While ComfyUI loads its nodes: intake hook, middleware, routes, and what runs once everything is loaded."""
        server = self._host.server
        add_routes(server.routes, self._services())
        server.add_on_prompt_handler(self._intake.on_prompt)
        server.app.middlewares.append(self._middleware())
        server.app.middlewares.append(ask_for_newer_modules)
        server.app.on_startup.append(self._start)

    def _services(self) -> Services:
        return Services(
            db=self._db,
            status=self._status,
            named=self._named,
            recovery=self._recovery,
            requests=self._requests,
            actions=TaskActions(
                self._db,
                self._recovery,
                self._requests,
                document=lambda: self._settings.document,
                feishu=lambda: self._feishu,
                on_change=self._changed,
            ),
            page_settings=self._page_settings,
            feishu=self._feishu,
            change_settings=self._change_settings,
            examine=self._examine,
        )

    async def _start(self, _: web.Application) -> None:
        """All nodes are loaded, the worker waits, the port is not open yet. Nothing here may raise or take long."""
        try:
            self._recorder.install()
            self._orderly.install()
            self._begun = asyncio.create_task(self._begin())
        except Exception as error:
            self._writer.report("the queue could not be hooked, tasks are not recorded", error)

    async def _begin(self) -> None:
        await self._host.listening()
        self._db.owners.name = f"ComfyUI {self._host.address}".strip()
        await apart(self._be_owner)
        self._named.set()
        found = await apart(tested, self._db.output_dir)
        log.info("[wfrecovery] %s", found.wording())
        if self._settings.in_wiki:  # Feishu may take its time
            self._asking = asyncio.create_task(apart(self._find_document))
        else:
            await apart(self._decline_others)
        if self._settings.feishu_configured:
            self._publishing.start()
            self._group.start()
        else:
            log.info("[wfrecovery] publishing to Feishu is off: %s", self._page_settings.why_not_publishing)
        self._events.start()
        if self._recovery.start():
            log.info("[wfrecovery] recording to %s", self._db.table.folder)
        await self._recovery.ended()
        if self._watches:
            self._standstill.start()
        self._watching = asyncio.create_task(self._watch.run())
        await self._retention.run()

    def _be_owner(self) -> None:
        """Others see from now on that this ComfyUI lives, and which table it works in."""
        try:
            log.info("[wfrecovery] other programs know this ComfyUI as owner %s", self._db.owners.me.boot[:SHORT])
            self._db.owners.beat()
            self._db.table.keep_table_id()
        except (TaskError, OSError) as error:
            self._writer.report("the task table cannot be written", error)

    def _find_document(self) -> None:
        """Which spreadsheet a wiki's address means is known before anything is declined for its document."""
        try:
            self._publisher.which.find_document()
        except (TaskError, OSError) as error:
            self._writer.report("records do not name the spreadsheet that the wiki's address means", error)
        self._decline_others()
        self._publishing.wake()

    def _decline_others(self) -> None:
        try:
            decline_others(self._db, self._settings.document, self._changed)
        except (TaskError, OSError) as error:
            self._writer.report("who delivers what was sent before is not looked through", error)

    def _middleware(self) -> Any:
        intake, writer, recorder = self._intake, self._writer, self._recorder

        @web.middleware
        async def wait_for_record(request: web.Request, handler: Handler) -> web.StreamResponse:
            """A prompt is answered when its record is on disk, a wish when it is written down; or when time is up."""
            if request.method in ("GET", "HEAD", "OPTIONS"):
                return await handler(request)
            with intake.post() as post:
                response = await handler(request)
                if response.status == web.HTTPOk.status_code:
                    recorder.named(await prompts_to_end(request))
                await writer.wait(post.writes, PATIENCE_SECONDS if request.path in _PROMPT_PATHS else WISH_SECONDS)
                return response

        return wait_for_record

    # ------------------------------------------------------------------ while it runs

    def _ends_well(self) -> None:
        """ComfyUI ends in good order, unless a prompt has ended its worker before."""
        if self._host.worker_alive:
            self._db.owners.ending()

    def _changed(self, record: TaskRecord) -> None:
        """A record was written: tell the pages, and wake the publisher when there is something to deliver, a row was
        entered, whose number may be missing, or has ended without a result, for which another one may wait."""
        self._events.changed(record)
        self._group.changed(record)
        entered = record.stage is Stage.QUEUED and record.row_number is not None
        open_ended = record.feishu_state in (FeishuState.PENDING, FeishuState.OFF)
        if entered or (record.stage.final and open_ended and record.row_number is not None):
            self._publishing.wake()

    def _progressed(self, task_id: str, value: float, maximum: float, node: str) -> None:
        """What renders has come on: for the pages, and it does not stand still."""
        self._events.progressed(task_id, value, maximum, node)
        self._standstill.progressed()

    def _change_settings(self, values: Mapping[str, Any]) -> None:
        self._feishu.settings = self._page_settings.change(values)
        self._host.server.loop.call_soon_threadsafe(self._retention.look_again)
        self._events.changed()

    def _examine(self) -> Report:
        from ..bridge.doctor.report import report  # noqa: PLC0415 - nothing else needs it

        page = self._page_settings
        status = self._status.now()
        return report(
            self._settings, self._db.output_dir, inside=status, settings_error=page.config_error, config=page.config
        )
