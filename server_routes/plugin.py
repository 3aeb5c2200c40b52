"""The parts of the plugin, put together; and the moment at which ComfyUI is up."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from ..bridge.doctor.checks import Report
from ..bridge.feishu.client import FeishuClient
from ..bridge.feishu.publisher import Publisher
from ..bridge.settings import Settings
from ..bridge.table.manager import DatabaseManager
from ..bridge.table.records import FeishuState, Stage, TaskRecord, now_text, parse_time
from ..bridge.version import VERSION
from .host import Host
from .page.actions import TaskActions
from .page.browser_cache import ask_for_newer_modules
from .page.events import Events
from .page.routes import add_routes
from .page.settings import PageSettings
from .publishing.group import GroupReporter
from .publishing.thread import PublishingThread
from .queue.recorder import Recorder
from .recovery.retention import Retention
from .recovery.startup import StartupRecovery

log = logging.getLogger("wfrecovery")

_PROMPT_PATHS: Final = frozenset({"/prompt", "/api/prompt"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Plugin:
    """One ComfyUI process with wfrecovery in it."""

    def __init__(self, server: Any) -> None:
        self.host = Host(server)
        started = now_text()
        self._started = parse_time(started)
        #: tells a restart; sorts by time
        self.boot_id = f"{started}/{uuid.uuid4()}"
        self.page_settings = PageSettings(self.host.private_dir)
        self.db = DatabaseManager(self.host.output_dir)
        self.feishu = FeishuClient(self.settings)
        self.publisher = Publisher(self.db, self.feishu, on_change=self._changed)
        self._publishing = PublishingThread(self.publisher)
        self._group = GroupReporter(self.db, self.feishu)
        self.events = Events(
            self.db,
            status=self.status,
            connected=lambda: bool(server.sockets),
            send=server.send_sync,
        )
        self.recorder = Recorder(
            self.host,
            self.db,
            boot=self.boot_id,
            record_others=lambda: self.settings.record_other_prompts,
            on_change=self._changed,
            on_progress=self.events.progressed,
        )
        self.recovery = StartupRecovery(
            self.host,
            self.db,
            self.recorder,
            lambda: self.settings,
            on_change=self._changed,
            on_progress=self.events.changed,
        )
        self.actions = TaskActions(self.db, self.recovery, on_change=self._changed)
        self._retention = Retention(self.db, lambda: self.settings.keep_days)

    @property
    def settings(self) -> Settings:
        """What applies now."""
        return self.page_settings.current

    # ------------------------------------------------------------------ starting

    def install(self) -> None:
        """While ComfyUI loads its nodes: intake hook, middleware, routes, and what runs once everything is loaded."""
        server = self.host.server
        add_routes(server.routes, self)
        server.add_on_prompt_handler(self.recorder.on_prompt)
        server.app.middlewares.append(self._middleware())
        server.app.middlewares.append(ask_for_newer_modules)
        server.app.on_startup.append(self._start)

    async def _start(self, _: web.Application) -> None:
        """All nodes are loaded, the worker waits, the port is not open yet. Nothing here may raise or take long."""
        try:
            self.recorder.install()
            self._begun = asyncio.create_task(self._begin())
        except Exception as error:
            self.recorder.report("the queue could not be hooked, tasks are not recorded", error)

    async def _begin(self) -> None:
        try:
            await asyncio.to_thread(self.db.table.set_host, self.boot_id)
        except Exception as error:
            self.recorder.report("the task table cannot be written", error)
        if self.settings.feishu_configured:
            self._publishing.start()
            self._group.start()
        else:
            log.info("[wfrecovery] publishing to Feishu is off: %s", self._why_not_publishing())
        self.events.start()
        if self.recovery.start():
            log.info("[wfrecovery] recording to %s", self.db.table.folder)
        await self.recovery.ended()
        await self._retention.run()

    def _middleware(self) -> Any:
        recorder = self.recorder

        @web.middleware
        async def wait_for_record(request: web.Request, handler: Handler) -> web.StreamResponse:
            """`POST /prompt` answers when the record is on disk, or could not be written."""
            if request.method != "POST" or request.path not in _PROMPT_PATHS:
                return await handler(request)
            with recorder.intake() as intake:
                response = await handler(request)
                await intake.written()
                return response

        return wait_for_record

    # ------------------------------------------------------------------ events

    def _changed(self, record: TaskRecord) -> None:
        """A record was written: tell the pages, and wake the publisher when there is something to deliver."""
        self.events.changed(record)
        self._group.changed(record)
        if record.stage.final and record.feishu_state is FeishuState.PENDING:
            self._publishing.wake()

    # ------------------------------------------------------------------ what the routes ask

    def status(self) -> dict[str, Any]:
        """The whole status."""
        statuses, outbox = self.db.counts()
        unfinished: Counter[str] = Counter()
        asking = 0
        for (stage, _), number in self.db.index.counts().items():
            asking += number if stage is Stage.ASKING else 0
            if not stage.final:
                unfinished[stage.value] += number
        return {
            "version": VERSION,
            "boot_id": self.boot_id,
            "comfyui": {"version": self.host.version, "worker_alive": self.host.worker_alive},
            "tasks": statuses,
            "stages": dict(unfinished),
            "attention": asking + outbox[FeishuState.BLOCKED.value] + self._failed_since_start(),
            "corrupt": len(self.db.table.corrupt()),
            "recovery": asdict(self.recovery.state),
            "feishu": {
                "configured": self.settings.feishu_configured,
                "pending": outbox[FeishuState.PENDING.value],
                "pushed": outbox[FeishuState.PUSHED.value],
                "blocked": outbox[FeishuState.BLOCKED.value],
                "last_error": self.publisher.last_error or self._why_not_publishing(),
            },
            "last_error": self.recorder.last_error,
            "settings_error": self.page_settings.error,
        }

    def _failed_since_start(self) -> int:
        """Without those that are counted as blocked."""
        failed = (entry for entry in self.db.index.entries() if entry.stage is Stage.FAILED)
        return sum(
            parse_time(entry.finished_at) >= self._started and entry.feishu_state is not FeishuState.BLOCKED
            for entry in failed
        )

    def change_settings(self, values: Mapping[str, Any]) -> None:
        """Use other settings from now on. Raises SettingsError or OSError."""
        self.feishu.settings = self.page_settings.change(values)
        self.host.server.loop.call_soon_threadsafe(self._retention.look_again)
        self.events.changed()

    def examine(self) -> Report:
        """The doctor's report, from inside ComfyUI. Blocks while Feishu is asked."""
        from ..bridge.doctor.report import report  # noqa: PLC0415 - nothing else needs it

        error = self.page_settings.config_error
        return report(self.settings, self.db.output_dir, inside=self.status(), settings_error=error)

    def _why_not_publishing(self) -> str | None:
        if self.page_settings.config_error:
            return self.page_settings.config_error
        return f"not set: {', '.join(self.settings.missing)}" if self.settings.missing else None
