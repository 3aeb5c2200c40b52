"""`wfrecovery recover` as a process of a story: what the console script runs, with the story's line for a network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from main_program import Line
from process import Computer, Process

from wfrecovery.bridge.cli import recover
from wfrecovery.bridge.cli.arguments import parser_in
from wfrecovery.bridge.cli.context import CommandError, Context
from wfrecovery.bridge.settings import LostPrompts, Settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import TaskError


class _Asked(Context):
    """As the console script makes it from its arguments and the environment."""

    def __init__(self, db: DatabaseManager, comfy: Line, arguments: list[str]) -> None:
        self.arguments, self.language = parser_in("en").parse_args(["recover", "--json", *arguments]), "en"
        self.settings = Settings(lost_prompts=LostPrompts.AUTO)
        self.engine = self.comfy = comfy
        self.output_dir, self.db = db.output_dir, db

    def show(self, data: Any, lines: Any) -> None:
        """Nobody reads it."""


class CommandLine(Process):
    """One run of it, until it has its answer."""

    def __init__(self, computer: Computer, output: Path) -> None:
        super().__init__(computer)
        with self.on():
            self.db = self.opened(DatabaseManager(output, disk=self.disk, around=computer.owners()))
        self.task: asyncio.Task[int] | None = None

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()

    def begin(self, comfy: Line, arguments: list[str]) -> None:
        """Run it."""
        with self.on():
            self.task = self.loop.create_task(recover.run(_Asked(self.db, comfy, arguments)))

    @property
    def wrong(self) -> str | None:
        """How it ended, where a person would see no sentence of ours."""
        if self.task is None or not self.task.done() or self.task.cancelled():
            return None
        error = self.task.exception()
        return None if isinstance(error, CommandError | TaskError | OSError | None) else repr(error)
