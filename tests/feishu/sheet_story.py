"""A sheet on which people work while a program enters, renders and delivers its rows, and Feishu fails.

What is right is told by two things that the product never looks at: a mark in each row, and the content of each
picture, of which the story notes for which mark it was paid.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests
from publishing_support import PICTURE, STATUS, Clock, Image
from table_processes import QuickDisk

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.errors import FeishuError
from wfrecovery.bridge.feishu.publisher import Publisher
from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, FeishuStandIn, Picture, Sheet

NUMBER, MARK, KIND = "任务号", "备注", "图片合成"
#: seconds: a slow answer comes after the client has given up
TIMEOUT, SLOW = 0.5, 0.8
#: How often something is done to the sheet in the very moment in which a call leaves.
_UNDER_A_CALL: Final = 0.03
#: And how often the program is killed in that moment as well.
_KILLED_THEN: Final = 0.5
_EDITS: Final = (
    "insert",
    "sort",
    "sort",
    "turn",
    "delete",
    "rename",
    "retype",
    "replace",
    "copy",
    "note",
    "column",
    "drag",
)


def sheet_rows(count: int) -> list[dict[str, Any]]:
    """Rows of which three each have one product, one model and the same pictures: told apart by 提示词 alone."""
    return [
        {
            "产品名": f"产品{n // 3}",
            "模特名": f"模特{n // 3}",
            "提示词": f"提示{n}",
            STATUS: "否",
            MARK: f"mark {n}",
            "产品图": b"\x89PNG p%d" % (n // 3),
            "模特图": b"\x89PNG m%d" % (n // 3),
        }
        for n in range(count)
    ]


def header(*, numbered: bool) -> tuple[str, ...]:
    return (*DEFAULT_HEADER, *([NUMBER] if numbered else []), MARK)


class People:
    """What colleagues do to the sheet, `edits` times at most."""

    def __init__(self, sheet: Sheet, dice: random.Random, edits: int, unsettled: Callable[[str], bool]) -> None:
        """`unsettled`: whether a task that nothing marks as that row's is at work on the row of a mark."""
        self._sheet, self._dice, self._unsettled = sheet, dice, unsettled
        self.left, self.done = edits, Counter[str]()
        #: marks of rows that say something else since a task began that has no number there: they may be paid for anew
        self.changed: set[str] = set()

    def work(self) -> None:
        """Something, unless they have gone home."""
        if not self.left:
            return
        self.left -= 1
        sheet, number, row = self._sheet, self.left, self._dice.randint(2, self._sheet.last_row)
        edit = self._dice.choice(_EDITS)
        self.done[edit] += 1
        texts = sheet.row_texts(row)
        to_do = {STATUS: "否", MARK: f"{edit} {number}"}
        match edit:
            case "insert":
                words = {"产品名": f"新品{number}", "模特名": "新人", "提示词": f"新提示{number}"}
                sheet.insert_row(row, {**words, **to_do})
            case "copy":
                sheet.insert_row(row, {**sheet.row(row), "提示词": f"副本{number}", PICTURE: None, **to_do})
            case "delete" if sheet.last_row > 4:
                sheet.delete_row(row)
            case "sort" | "turn":
                sheet.sort(self._dice.choice(["产品名", "提示词", MARK]), reverse=edit == "turn")
            case "rename" | "retype" | "replace":
                if self._unsettled(texts[MARK]):
                    self.changed.add(texts[MARK])
                title, value = {
                    "rename": ("产品名", f"改名{number}"),
                    "retype": ("提示词", f"改词{number}"),
                    "replace": ("产品图", b"\x89PNG new%d" % number),
                }[edit]
                sheet.set(f"{sheet.find(title)}{row}", value)
            case "note":
                sheet.set(f"P{row}", f"note {number}")
            case "column" if gone := [title for title in sheet.titles if title.startswith("列")]:
                sheet.delete_column(sheet.find(gone[0]))
            case "column":
                sheet.insert_column(sheet.find(self._dice.choice(DEFAULT_HEADER)), f"列{number}")
            case "drag":
                sheet.move_column(*(sheet.find(self._dice.choice(DEFAULT_HEADER)) for _ in range(2)))


class KilledError(BaseException):
    """As SIGKILL ends a program: it does nothing more, and forgets what is not on disk."""


class BusyOffice(requests.Session):
    """Now and then somebody is at the sheet in the moment in which a call leaves, or the program is killed then."""

    def __init__(self, people: People, dice: random.Random) -> None:
        super().__init__()
        self._people, self._dice = people, dice

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        together = self._people.left > 0 and self._dice.random() < _UNDER_A_CALL
        if together:
            self._people.work()
        answer = super().request(*arguments, **options)
        if together and self._dice.random() < _KILLED_THEN:
            raise KilledError
        return answer


@dataclass
class Render:
    """What was paid for: for the row of which mark, by what that wanted when it was read."""

    mark: str
    wanted: tuple[object, ...]
    digest: str = ""


@dataclass
class Verdict:
    """How it ended."""

    rows: int = 0
    pictures: int = 0
    #: rows without a picture of theirs of which a reason is told
    reasons: int = 0
    #: rows that show another's picture or status, of which that is told
    named: int = 0
    wrong: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    #: paid for anew because a person has changed the row, and no number tells whose it was
    anew: int = 0
    missing: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return not (self.wrong or self.doubled or self.missing)


class Story:
    """One sheet, one table, programs that come and go."""

    def __init__(self, feishu: FeishuStandIn, folder: Path, dice: random.Random, *, edits: int) -> None:
        self.feishu, self.folder, self.dice, self.clock = feishu, folder, dice, Clock()
        self.settings: Settings = load_settings(environ=feishu.environment())
        self.people = People(feishu.sheet, dice, edits, self._is_open)
        self.renders: dict[str, Render] = {}
        self.restart()

    def restart(self) -> None:
        """The program has died, and is started again."""
        self.db = DatabaseManager(self.folder, disk=QuickDisk())
        self.client = FeishuClient(
            self.settings, session=BusyOffice(self.people, self.dice), timeout=(TIMEOUT, TIMEOUT)
        )
        self.publisher = Publisher(self.db, self.client, clock=self.clock)
        self.publisher.unblock()

    # ------------------------------------------------------------------ the program

    def round(self, most: int) -> bool:
        """Enter and render some rows, deliver what there is; whether something was left to do before that."""
        waiting = bool(self.db.unpushed()) or bool(self._unrendered())
        todo: list[Any] = []
        with contextlib.suppress(FeishuError):
            rows = [row for row in self.client.read_rows() if row.status == "否"]
            todo = self.db.rows_without_task(rows, KIND)
            for row in self.dice.sample(todo, min(most, len(todo))):
                task_id = self.db.add_workflow_task(row, KIND)
                wanted = row.prompt, str(row.product_image), str(row.model_image)
                self.renders.setdefault(task_id, Render(str(row.original_data[MARK]), wanted))
            waiting = waiting or bool(todo)
        self.publisher.number()
        for task_id in self._unrendered():
            if self.dice.random() < 0.7:
                self._render(task_id)
        self.publisher.flush()
        self.clock.now += 400
        return waiting

    def _unrendered(self) -> list[str]:
        return [task_id for task_id, render in self.renders.items() if not render.digest]

    def _render(self, task_id: str) -> None:
        number = list(self.renders).index(task_id)
        path = self.folder / f"{task_id}_00001_.png"
        Image.new("RGB", (4, 4), (number % 256, number // 256, 99)).save(path)
        assert self.db.complete_task(task_id, [path])
        self.renders[task_id].digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def _is_open(self, mark: str) -> bool:
        open_tasks = (self.db.table.get(task_id) for task_id, render in self.renders.items() if render.mark == mark)
        return any(
            task.identity.task_id is None and task.feishu_state not in (FeishuState.PUSHED, FeishuState.OFF)
            for task in open_tasks
        )

    def until_idle(self) -> None:
        """Feishu has ended what it is at work on: back-off lasts longer than that, though not by a clock that jumps."""
        deadline = time.monotonic() + 120
        while self.feishu.service.busy:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    # ------------------------------------------------------------------ how it ended

    def judged(self, log: str) -> Verdict:
        """What stands where, and what is said about the rest, in records and in the log of the last round."""
        sheet, verdict = self.feishu.sheet, Verdict()
        tasks = {task_id: self.db.table.get(task_id) for task_id in self.renders}
        blocked = {task_id: task for task_id, task in tasks.items() if task.feishu_state is FeishuState.BLOCKED}
        waiting = {self.renders[task_id].mark for task_id in blocked}
        shown_by = {render.digest: task_id for task_id, render in self.renders.items()}
        shown = Counter[str]()
        for number in range(2, sheet.last_row + 1):
            texts, cell = sheet.row_texts(number), sheet.row(number)[PICTURE]
            verdict.rows += 1
            task_id = shown_by.get(cell.sha256, "") if isinstance(cell, Picture) else ""
            shown[task_id] += 1
            if task_id and self.renders[task_id].mark == texts[MARK]:
                verdict.pictures += 1
            elif task_id and any("rows " in _why(task) and texts["产品名"] in _why(task) for task in blocked.values()):
                verdict.named += 1
            elif task_id:
                verdict.wrong.append(f"row {number} ({texts}) shows {task_id} of {self.renders[task_id]}")
            elif any(
                f"{texts['提示词']!r}" in _why(task) and "written over" in _why(task) for task in blocked.values()
            ):
                verdict.named += 1
            elif texts[MARK] in waiting or f"row {number} was changed while" in log:
                verdict.reasons += 1
            else:
                verdict.missing.append(f"row {number}: {texts}")
        verdict.doubled = [f"{one} is shown {times} times" for one, times in shown.items() if one and times > 1]
        for (mark, wanted), times in Counter((one.mark, one.wanted) for one in self.renders.values()).items():
            if times > 1 and mark in self.people.changed:
                verdict.anew += 1
            elif times > 1:
                verdict.doubled.append(f"{mark} is paid for {times} times: {wanted}")
        silent = [task_id for task_id, task in blocked.items() if not _why(task)]
        verdict.missing += [f"{task_id} waits for a person, and nothing says why" for task_id in silent]
        return verdict


def _why(task: TaskRecord) -> str:
    return task.outbox.last_error or ""


def described(verdict: Verdict) -> str:
    """For a report."""
    counts = dataclasses.asdict(verdict)
    return ", ".join(f"{name} {len(found) if isinstance(found, list) else found}" for name, found in counts.items())
