"""While a `main.py` follows tasks: whether its batch stands still, and telling the group where the plugin does not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ..engines.errors import EngineError
from ..engines.in_use import EngineInUse
from ..feishu.client import FeishuClient
from ..feishu.group_summary import Summary
from ..settings import Settings
from ..standstill import watch as standstill
from ..standstill.summary import tell_summary
from ..standstill.telling import Telling
from ..standstill.watch import Engine, StandstillWatch
from ..table.manager import DatabaseManager

log = logging.getLogger("wfrecovery")


class RunStandstill:
    """Looks every few seconds for as long as anything is followed, where the settings name a bot of the group."""

    def __init__(self, db: DatabaseManager, engine: EngineInUse, feishu: FeishuClient | None) -> None:
        self._engine, self._feishu = engine, feishu
        self._watch = StandstillWatch(db, self._settings)
        self._telling = Telling(self._watch, self._settings)
        self._followers = 0
        self._looking: asyncio.Task[None] | None = None
        self._speaking: threading.Thread | None = None

    def progressed(self, *_: int) -> None:
        """What reports progress does not stand still."""
        self._watch.progressed()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Something is followed."""
        self._followers += 1
        self._look_on()
        left = False
        try:
            yield
        except GeneratorExit:  # its loop was left, and is no more
            left = True
            raise
        finally:
            self._followers -= 1
            if not (self._followers or left):
                await self._look_no_more()

    async def _look_no_more(self) -> None:
        looking = self._looking
        if looking is not None and looking.get_loop() is asyncio.get_running_loop():
            self._looking = None
            looking.cancel()
            await asyncio.wait([looking])

    async def tell_summary(self, summary: Summary) -> None:
        """The end of a run."""
        if self._feishu is not None:
            await asyncio.to_thread(tell_summary, self._feishu, summary, self._watch.note)

    def _settings(self) -> Settings:
        return Settings() if self._feishu is None else self._feishu.settings

    def _look_on(self) -> None:
        """A `main.py` with a menu runs one loop after the other, and a task belongs to one."""
        if not self._settings().feishu_webhook_url:
            return
        loop = asyncio.get_running_loop()
        if self._looking is None or self._looking.done() or self._looking.get_loop() is not loop:
            self._looking = loop.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(standstill.LOOK_SECONDS)
            try:
                await self._look()
            except OSError as error:
                log.debug("[wfrecovery] the table could not be looked at: %s", error)
            except Exception:
                log.exception("[wfrecovery] it could not be told whether the batch stands still")

    async def _look(self) -> None:
        plugin: Mapping[str, Any] | None = None
        answers = True
        try:
            plugin = await self._engine.plugin_status()
        except EngineError:
            answers = False
        await asyncio.to_thread(self._watch.look, Engine.of(self._engine.client, answers=answers))
        self._speak(tell=self._watch.engine_gone or (answers and not (plugin or {}).get("tells_group")))

    def _speak(self, *, tell: bool) -> None:
        """In a thread of its own: neither the run nor its end waits for Feishu."""
        if self._speaking is None or not self._speaking.is_alive():
            self._speaking = threading.Thread(target=self._say, args=(tell,), name="wfrecovery-standstill", daemon=True)
            self._speaking.start()

    def _say(self, tell: bool) -> None:
        try:
            self._telling.forget()
            if tell:
                self._telling.tell()
        except Exception:
            log.exception("[wfrecovery] the group was not told that the batch stands still")
