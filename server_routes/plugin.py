"""The parts of the plugin, put together; and the moment at which ComfyUI is up."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from ..bridge.database_manager import DatabaseManager
from ..bridge.feishu_client import FeishuClient
from ..bridge.publisher import Publisher
from ..bridge.records import FeishuState, TaskRecord, now_text
from ..bridge.settings import CONFIG_NAME, Settings, SettingsError, load_settings
from .host import Host
from .publishing import PublishingThread
from .recorder import Recorder
from .recovery import StartupRecovery
from .routes import add_routes

log = logging.getLogger("wfrecovery")

VERSION: Final = "0.1.0"
_PROMPT_PATHS: Final = frozenset({"/prompt", "/api/prompt"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Plugin:
    """One ComfyUI process with wfrecovery in it."""

    def __init__(self, server: Any) -> None:
        self.host = Host(server)
        #: tells a restart; sorts by time
        self.boot_id = f"{now_text()}/{uuid.uuid4()}"
        self.settings, self.settings_error = self._load_settings()
        self.db = DatabaseManager(self.host.output_dir)
        self.publisher = Publisher(self.db, FeishuClient(self.settings), on_change=self._changed)
        self._publishing = PublishingThread(self.publisher)
        self.recorder = Recorder(
            self.host,
            self.db,
            boot=self.boot_id,
            record_others=self.settings.record_other_prompts,
            on_change=self._changed,
        )
        self.recovery = StartupRecovery(
            self.host,
            self.db,
            self.recorder,
            self.settings,
            on_change=self._changed,
        )

    def _load_settings(self) -> tuple[Settings, str | None]:
        """Settings that cannot be used switch publishing off; recording goes on with the defaults."""
        try:
            return load_settings(self.host.private_dir / CONFIG_NAME), None
        except (SettingsError, OSError) as error:
            log.error("[wfrecovery] %s. Publishing is off until this is mended and ComfyUI is started again.", error)
            return Settings(), str(error)

    # ------------------------------------------------------------------ starting

    def install(self) -> None:
        """While ComfyUI loads its nodes: intake hook, middleware, routes, and what runs once everything is loaded."""
        server = self.host.server
        add_routes(server.routes, self)
        server.add_on_prompt_handler(self.recorder.on_prompt)
        server.app.middlewares.append(self._middleware())
        server.app.on_startup.append(self._start)

    async def _start(self, _: web.Application) -> None:
        """All nodes are loaded, the worker waits, the port is not open yet. Nothing here may raise or take long."""
        try:
            self.recorder.install()
            self._started = asyncio.create_task(self._begin())
        except Exception as error:
            self.recorder.report("the queue could not be hooked, tasks are not recorded", error)

    async def _begin(self) -> None:
        try:
            await asyncio.to_thread(self.db.table.set_host, self.boot_id)
        except Exception as error:
            self.recorder.report("the task table cannot be written", error)
        if self.settings.feishu_configured:
            self._publishing.start()
        else:
            log.info("[wfrecovery] publishing to Feishu is off: %s", self._why_not_publishing())
        if self.recovery.start():
            log.info("[wfrecovery] recording to %s", self.db.table.folder)

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
        """A record was written: wake the publisher when there is something to deliver."""
        if record.stage.final and record.feishu_state is FeishuState.PENDING:
            self._publishing.wake()

    # ------------------------------------------------------------------ what the routes ask

    def status(self) -> dict[str, Any]:
        """The whole status. Reads the unfinished records, and finished ones that are new since the last time."""
        statuses, outbox = self.db.counts()
        return {
            "version": VERSION,
            "boot_id": self.boot_id,
            "comfyui": {"version": self.host.version, "worker_alive": self.host.worker_alive},
            "tasks": statuses,
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
        }

    def push_again(self, task_id: str) -> None:
        """Put a result back into the outbox; raises TaskError when it has none."""
        self._changed(self.db.put_back(task_id))

    def _why_not_publishing(self) -> str | None:
        if self.settings_error:
            return self.settings_error
        return f"not set: {', '.join(self.settings.missing)}" if self.settings.missing else None
