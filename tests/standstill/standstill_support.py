"""Programs that share a table and a group, each with a watch of its own; time is moved by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from table_processes import QuickDisk

from wfrecovery.bridge.settings import Settings
from wfrecovery.bridge.standstill.note import Note
from wfrecovery.bridge.standstill.telling import Telling
from wfrecovery.bridge.standstill.watch import Engine, StandstillWatch
from wfrecovery.bridge.table.changes import new_task, taken_up
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.lives import Surroundings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import FeishuState, OwnerKind
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

#: Publishing is on.
FEISHU = {f"feishu_{name}": "demo-0123456789" for name in ("app_id", "app_secret", "spreadsheet_token", "sheet_name")}
MINUTE = 60.0
HOUR = 60 * MINUTE


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = time.time() - 24 * HOUR

    def __call__(self) -> float:
        return self.now


class Program:
    """A ComfyUI, or a main.py, on the table in `folder`."""

    def __init__(
        self,
        folder: Path,
        bot: FeishuStandIn,
        clock: Clock,
        *,
        kind: OwnerKind = OwnerKind.COMFYUI,
        disk: Disk | None = None,
        **settings: Any,
    ) -> None:
        around = Surroundings(clock, lambda: "here", lambda _folder: True, beats=False)
        self.db = DatabaseManager(folder, disk=disk or QuickDisk(), kind=kind, around=around, lock_timeout=1.0)
        self.bot, self.clock = bot, clock
        self.settings = Settings(**{**FEISHU, "feishu_webhook_url": bot.webhook_url, **settings})
        self.engine: Engine | None = None
        self.start_again()

    def start_again(self) -> None:
        """What was in memory is gone."""
        self.watch = StandstillWatch(self.db, lambda: self.settings, clock=self.clock, wall=self.clock)
        self.telling = Telling(self.watch, lambda: self.settings, clock=self.clock)

    @property
    def note(self) -> Note:
        return self.watch.note

    def look(self) -> None:
        """As it does every few seconds."""
        self.watch.look(self.engine)
        self.telling.forget()
        self.telling.tell()

    def stands(self) -> list[str]:
        """What its status would show."""
        return [standstill.kind.value for standstill in self.watch.standing]

    # ------------------------------------------------------------------ tasks

    def enter(self, row: int | None, stage: Stage = Stage.QUEUED, **fields: Any) -> str:
        """A task of this program."""
        kind = "图片合成" if row is not None else None
        record = new_task(
            self.db.table.claim_id(kind),
            Stage.CREATED,
            row_number=row,
            product_name=f"产品{row}",
            workflow_type=kind,
            **fields,
        )
        self.db.table.create(taken_up(self.db.owners.me, record))
        if stage is not Stage.CREATED:
            self.bring(record.task_id, stage)
        return record.task_id

    def bring(self, task_id: str, stage: Stage, **fields: Any) -> None:
        """To a stage."""
        if stage is Stage.RUNNING:
            fields.setdefault("started_at", moment(self.clock.now))
        self.change(task_id, lambda task: task.entering(stage, **fields))

    def change(self, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> None:
        self.db.table.update(task_id, change)

    def finish(self, task_id: str) -> None:
        """Rendered; its result waits."""
        self.bring(task_id, Stage.FINISHED)

    def outbox(self, task_id: str, state: FeishuState, reason: str | None = None) -> None:
        self.change(task_id, lambda task: task.with_outbox(state=state, last_error=reason, last_error_zh=reason))

    def block(self, task_id: str, reason: str) -> None:
        """Rendered, and a person has to do something."""
        if not self.db.table.get(task_id).stage.final:
            self.finish(task_id)
        self.outbox(task_id, FeishuState.BLOCKED, reason)

    def done(self, task_id: str) -> None:
        """In the sheet."""
        if not self.db.table.get(task_id).stage.final:
            self.finish(task_id)
        self.outbox(task_id, FeishuState.PUSHED)

    def die(self) -> None:
        """As by SIGKILL."""
        self.db.owners.close()


class Table:
    """One table, its programs, and the group's bot."""

    def __init__(self, folder: Path, bot: FeishuStandIn) -> None:
        self.folder, self.bot, self.clock = folder, bot, Clock()
        self.programs: list[Program] = []

    def program(self, **options: Any) -> Program:
        """One more."""
        program = Program(self.folder, self.bot, self.clock, **options)
        self.programs.append(program)
        return program

    def main_py(self, **options: Any) -> Program:
        """One more, of another kind."""
        return self.program(kind=OwnerKind.MAIN, **options)

    def dies(self, program: Program) -> None:
        """It does not look any more either."""
        program.die()
        self.programs.remove(program)

    def passes(self, seconds: float, *, step: float = 5.0, meanwhile: Callable[[], object] = int) -> None:
        """Time, in which all of them look."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(self.clock.now + step, end)
            meanwhile()
            for program in self.programs:
                program.look()

    def texts(self) -> list[str]:
        """What the group has read."""
        return [message["content"]["text"] for message in self.bot.messages]


def moment(seconds: float) -> str:
    """As records carry it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
