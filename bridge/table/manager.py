"""The table as programs use it: what `main.py` and the plugin call. The changes themselves are in `changes.py`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..inside import relative
from ..redact import redact
from ..settings import load_settings
from ..wording import Wording, wording_of
from .cells import cell_text, pictures_in
from .changes import (
    cancelled,
    failed_by_program,
    finished,
    job_id_in,
    new_task,
    pending_again,
    pushed_again,
    start_settled,
    taken_over,
    taken_up,
    with_job_id,
)
from .content import taken
from .current import Submit, make_current
from .database import Change, TableBusyError, WorkflowDatabase
from .disk import Disk
from .index import TaskEntry, TaskIndex
from .letting_go import LettingGo
from .limits import kept_cells
from .lives import Life, Surroundings
from .locks import Mutex
from .owner_list import meant
from .owners import Owners
from .publishers import back_in_outbox, delivered_here, in_sheet
from .record_json import record_to_json
from .records import Stage, TaskError, TaskRecord, WorkflowStatus, WorkflowType, workflow_type_of
from .row_identity import PICTURES, RowIdentity, identity_of
from .row_places import keeps_row
from .row_tasks import RowTasks
from .rows import RowData, row_data_of
from .sheets import KnownSheets
from .values import FeishuState, Owner, OwnerKind, Result

log = logging.getLogger("wfrecovery")


class DatabaseManager:
    """The task table under `output_dir` (default: WFRECOVERY_OUTPUT, else `output`), for several programs at once.

    The methods that return `bool` answer whether the task now is as asked; a task that is gone, or whose stage does
    not allow the change (a finished task cannot fail any more), is logged and answers False. A disk that refuses
    raises OSError, and a table whose lock somebody holds for too long TableBusyError: nothing was changed then.
    """

    def __init__(
        self,
        output_dir: str | Path | None = None,
        *,
        disk: Disk | None = None,
        lock_timeout: float = 10.0,
        kind: OwnerKind = OwnerKind.MAIN,
        around: Surroundings | None = None,
    ) -> None:
        folder = output_dir if output_dir is not None else load_settings().output_dir or "output"
        self.table = WorkflowDatabase(folder, disk=disk, lock_timeout=lock_timeout)
        self.index = TaskIndex(self.table)
        #: this program as an owner of tasks, from the first one on that it takes; and the others
        self.owners = Owners(self.table.files, kind, around=around)
        self._letting_go = LettingGo(self.table, self.owners)
        #: the recovery of this table, by the name of its engine: who submits for the task that was entered last
        self.submits: tuple[str, Submit] | None = None
        #: tasks that this run surely has not sent: the next one does
        self.unsent: set[str] = set()
        self._entering = Mutex()
        self.sheets = KnownSheets(self.table)
        #: the document whose rows are entered here, by `Settings.document`; None where nobody has said so
        self.document: Callable[[], str | None] = lambda: None
        #: the sheet itself, by `Settings.sheet`, as far as it is known; and how to ask Feishu for it
        self.sheet: Callable[[], str | None] = lambda: None
        self.ask_sheet: Callable[[], object] = lambda: None
        self._rows = RowTasks(self.index, self.table.look, self.owners, self.table.newer, self.in_this_sheet)

    @property
    def output_dir(self) -> Path:
        """The folder that `output_files` are relative to."""
        return self.table.output_dir

    # ------------------------------------------------------- what main.py calls

    def add_workflow_task(
        self,
        row_data: Any,
        workflow_type: WorkflowType | str,
        comfyui_task_id: str | None = None,
    ) -> str:
        """Enter a row's task and return its id; it is the current task of this asyncio context then.

        `row_data`: a RowData, a mapping, or a team's own object, by the names of RowData.

        A row that is already being worked on, or whose result still waits to be pushed, is not entered a second time
        for the same workflow: the caller gets the id of the task that exists. Raises ValueError for a row without a
        number or an unknown workflow type.
        """
        row = _as_texts(row_data_of(row_data))
        identity = identity_of(row)
        if type(row.row_number) is not int or row.row_number < 1:
            raise ValueError(f"a row needs its number in the sheet (1, 2, …), not {row.row_number!r}")
        kind = workflow_type_of(workflow_type).value
        self._know_sheet()
        task_id = self._entered(row, identity, kind, job_id_in(comfyui_task_id))
        make_current(self, task_id)
        return task_id

    def _entered(self, row: RowData, identity: RowIdentity, kind: str, comfyui_task_id: str | None) -> str:
        with self._entering.lock, self.table.locked():
            me = self.owners.me
            existing = self._rows.of(row, kind)
            if existing is not None:
                if existing.stage is Stage.CREATED and self.owners.at_work(existing) is None:
                    self.table.update(existing.task_id, partial(taken_up, me))
                    self.owners.work.begin(existing.task_id)
                if comfyui_task_id and existing.comfyui_task_id is None:
                    self.update_task_comfyui_id(existing.task_id, comfyui_task_id)
                return existing.task_id
            task_id = self.table.claim_id(kind)
            self.owners.work.begin(task_id)
            self.table.create(
                new_task(
                    task_id,
                    Stage.CREATED,
                    row_number=row.row_number,
                    product_name=row.product_name,
                    model_name=row.model_name,
                    workflow_type=kind,
                    comfyui_task_id=comfyui_task_id,
                    row_data=feishu_row_data(row, identity),
                    row=identity,
                    owner=me,
                    batch=me.boot,
                    sheet=self.sheet(),
                )
            )
            return task_id

    def update_task_comfyui_id(self, task_id: str, comfyui_task_id: str) -> bool:
        """Note the id under which the task is (about to be) submitted: a text, or a number."""
        return self._change(task_id, partial(with_job_id, comfyui_task_id))

    def update_task_with_files(self, task_id: str, output_files: Sequence[str | Path]) -> bool:
        """Note result files, relative to the output folder (or absolute inside it), without finishing the task."""
        results = self._taken(output_files)
        return self._change(task_id, lambda task: task.with_results(results))

    def complete_task(self, task_id: str, output_files: Sequence[str | Path] | None = None) -> bool:
        """The task is 已完成; with a row, its result now waits in the outbox. One write."""
        results = None if output_files is None else self._taken(output_files)
        return self._change(task_id, lambda task: finished(task, results))

    def mark_task_failed(self, task_id: str, error_message: Wording | str) -> bool:
        """The task is 失败, for the reason given; not what waits for a person (nobody knows whether it was rendered),
        what surely was not sent (the next run does that), or what another living process is at work on."""
        if task_id in self.unsent:
            log.warning("[wfrecovery] %s was not sent, which is no failure: the next run sends it", task_id)
            return False
        said = wording_of(error_message if isinstance(error_message, Wording) else str(error_message))
        # what a program hands on is what some service told it, its addresses and headers included
        return self._change(task_id, partial(self._failed_here, said.changed(redact)))

    def _failed_here(self, reason: Wording, task: TaskRecord) -> TaskRecord:
        self.owners.check_program(task)
        return failed_by_program(reason, task)

    def get_task(self, task_id: str) -> dict[str, Any] | None:
        """The task's record, or None when there is no such task."""
        try:
            return record_to_json(self.table.get(task_id))
        except TaskError:
            return None

    def get_incomplete_tasks(self) -> list[dict[str, Any]]:
        """The tasks that are 在处理中, oldest first."""
        return [record_to_json(task) for task in self.table.active() if not task.stage.final]

    def get_incomplete_tasks_by_type(self, workflow_type: WorkflowType | str) -> list[dict[str, Any]]:
        """The tasks of one workflow that are 在处理中, oldest first."""
        kind = workflow_type_of(workflow_type).value
        return [task for task in self.get_incomplete_tasks() if task["workflow_type"] == kind]

    # ------------------------------------------------------- what the plugin and the recovery call besides

    def cancel_task(self, task_id: str, reason: Wording | str) -> bool:
        """The user does not want it: never brought back by itself, nothing pushed."""
        return self._change(task_id, lambda task: cancelled(task, reason))

    def release_task(self, task_id: str) -> None:
        """This process is no longer at work on it. Raises TaskError, TableBusyError after a second, or OSError."""
        self.owners.work.end(task_id)
        self._letting_go.of(task_id)

    def take_lost(self, task_id: str) -> TaskRecord:
        """Be at work on what a ComfyUI has lost: nobody else touches it from now on. Raises OwnedError where another
        process is at work on it."""
        return self.table.update(task_id, self.taking)

    def taking(self, task: TaskRecord) -> TaskRecord:
        """The change with which this process begins to work on a task, whoever had it. Raises OwnedError where another
        one is at work on it."""
        self.owners.check(task)
        return taken_up(self.owners.me, self.settled(task))

    def settled(self, task: TaskRecord) -> TaskRecord:
        """`task` with its last start judged by what became of the ComfyUI in which it began: one that still lives has
        not gone down. Whoever takes a task from another does this, for its place in the queue is a new one then."""
        began_in = task.queue.started_by if task.queue is not None else None
        if began_in is None or self.owners.in_process(began_in):
            return task
        comfyui = Owner(OwnerKind.COMFYUI, began_in)
        lives = self.owners.life(comfyui) is Life.ALIVE
        return start_settled(task, counts=not lives and not self.owners.ended_well(comfyui))

    def take_over(self, boot: str) -> int:
        """Be at work on everything that an owner was at work on, dead or not, because a person says so.

        `boot` is its token, or the beginning of that. Returns how many tasks those are. Raises TaskError where no
        owner, or more than one, begins with it, or where it is this process.
        """
        owned = {entry.task_id: entry.owner for entry in self.index.entries() if entry.owner is not None}
        boots = {owner.boot for owner in owned.values()} | {told.boot for told, _ in self.owners.known()}
        named = meant(boot, boots, {self.owners.me.boot})
        theirs = [task_id for task_id, owner in owned.items() if owner.boot == named]
        for task_id in theirs:
            self.table.update(task_id, partial(self._taken_by_hand, named))
        return len(theirs)

    def _taken_by_hand(self, boot: str, task: TaskRecord) -> TaskRecord:
        taken = taken_over(self.owners.me, boot, task)
        return task if taken is task else self.settled(taken)

    def sweep(self) -> None:
        """Finish what a crash left half done, see `WorkflowDatabase.sweep`; and forget owners that are gone, and about
        whom no record has a question left."""
        self.table.sweep()
        named = {boot for task in self.table.active() for boot in _asks_about(task)}
        with self.table.locked():
            self.owners.sweep(named)

    def push_again(self, task_id: str) -> bool:
        """Put a blocked or pushed result back into the outbox because a person says so: it is its row's newest then."""
        return self._change(task_id, pushed_again)

    def try_again(self, task_id: str) -> bool:
        """Give a blocked result another try, as at each start."""
        return self._change(task_id, pending_again)

    def put_back(self, task_id: str) -> TaskRecord:
        """The same because a person wants it, raising TaskError with the reason where that is not possible."""
        return self.table.update(task_id, partial(back_in_outbox, self.table.table_id))

    def deliver_here(self, task_id: str, document: str) -> TaskRecord:
        """The same; and this table delivers it from now on, whoever was to. `document`: what is set here."""
        sheet = self.sheets.read().get(document)
        return self.table.update(task_id, partial(delivered_here, self.table.keep_table_id(), document, sheet=sheet))

    def name_document(self, former: str | None, now: str | None) -> None:
        """Unfinished records that name a document by `former` name it by `now`. Raises OSError and TaskError."""
        for task in [task for task in self.table.active() if task.document == former and former is not None]:
            self.table.update(task.task_id, partial(dataclasses.replace, document=now))

    def note_sheet(self, document: str, sheet: str) -> None:
        """Note which sheet has the title of `document` now. Where that was another one before, what was entered for
        that one says so from now on. Raises OSError and TaskError."""
        former = self.sheets.read().get(document)
        if former not in (None, sheet):
            for task in list(self.table.active()):
                nameless = task.document is None and task.stage.final and task.row_number is not None
                if task.sheet is None and (nameless or task.document == document):
                    self.table.update(task.task_id, partial(in_sheet, former))
        self.sheets.note(document, sheet)

    def unpushed(self) -> list[TaskRecord]:
        """The outbox: final tasks whose result has to reach the sheet, oldest first."""
        waiting = (
            entry.task_id
            for entry in reversed(self.index.entries())
            if entry.stage.final and entry.feishu_state is FeishuState.PENDING
        )
        records = (self.table.look(task_id) for task_id in waiting)
        return [
            task
            for task in records
            if task is not None and task.stage.final and task.feishu_state is FeishuState.PENDING
        ]

    def is_shared_with(self, status: Mapping[str, Any] | None) -> bool:
        """Whether the plugin that answers with this status works in this very table: who answers, and shows no sign of
        life here, works in another copy of the folder. To be asked every few seconds, for that is known after a while.
        """
        if status is None or not self.table.is_shared_with(status):
            return False
        boot = status.get("owner")
        return boot is None or self.owners.life(Owner(OwnerKind.COMFYUI, str(boot))) is not Life.DEAD

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many tasks have each status, and how many outbox entries each state."""
        statuses = dict.fromkeys((item.value for item in WorkflowStatus), 0)
        outbox = dict.fromkeys((item.value for item in FeishuState), 0)
        for (stage, feishu_state), number in self.index.counts().items():
            statuses[stage.status.value] += number
            if stage.final:  # what still renders has nothing to deliver yet
                outbox[feishu_state.value] += number
        return statuses, outbox

    def _taken(self, files: Iterable[str | Path]) -> tuple[Result, ...]:
        return tuple(taken(self.output_dir, name) for name in self.relative_files(files))

    def relative_files(self, files: Iterable[str | Path]) -> tuple[str, ...]:
        """Paths as records hold them; raises ValueError for one outside the output folder."""
        found = {file: _relative(self.output_dir, file) for file in files}
        for file, name in found.items():
            if name is None:
                raise ValueError(f"{file} is not inside the output folder {self.output_dir}")
        return tuple(name for name in found.values() if name is not None)

    def in_this_sheet(self, tasks: Iterable[TaskEntry]) -> list[TaskEntry]:
        """Of some tasks those whose row may stand in the sheet whose rows are entered here."""
        tasks = list(tasks)
        elsewhere = self.sheets.elsewhere(tasks, self.document(), self.sheet())
        return [task for task in tasks if task.task_id not in elsewhere]

    def rows_without_task(self, rows: Sequence[RowData], workflow_type: WorkflowType | str) -> list[RowData]:
        """`rows`, of one reading of the sheet, without those that a task is at work on, or whose result still has to
        reach the sheet. Of rows that look the same, as many are left out as there are tasks."""
        self._know_sheet()
        return self._rows.without(rows, workflow_type_of(workflow_type).value)

    def _know_sheet(self) -> None:
        """Ask which sheet it is where nobody has, and that may tell whose rows some tasks keep."""
        unknown = self.document() is not None and self.sheet() is None
        if unknown and any(keeps_row(task) and (task.sheet or task.document) for task in self.index.entries()):
            self.ask_sheet()

    def _change(self, task_id: str, change: Change) -> bool:
        try:
            self.table.update(task_id, change)
        except TableBusyError:  # not an answer about the task
            raise
        except TaskError as error:
            log.warning("[wfrecovery] %s", error)
            return False
        return True


def _asks_about(task: TaskRecord) -> set[str]:
    """The owners by whose lives something will be decided: who is at work on it, who entered it, and in whom it began,
    for whether that start counts."""
    owner = task.owner.boot if task.owner is not None else None
    began_in = task.queue.started_by if task.queue is not None else None
    return {boot for boot in (owner, task.batch, began_in) if boot is not None}


def feishu_row_data(row: RowData, identity: RowIdentity) -> dict[str, Any]:
    """The row as it was when its task was entered; of the pictures that went in, which they are."""
    pictures = {name: picture for name in PICTURES if (picture := getattr(identity, name))}
    kept = {
        "row_number": row.row_number,
        "product_name": row.product_name,
        "model_name": row.model_name,
        "prompt": row.prompt,
        **pictures,
    }
    return {**kept, **shown_by(row)}


def shown_by(row: RowData) -> dict[str, Any]:
    """What a row shows where results go, if it was read from a sheet whole, and its cells by title: of what it shows
    later that tells whether it was there before."""
    if not row.original_data:
        return {}
    shown = ",".join(pictures_in(row.composite_image)) or None
    before = {"composite_image": shown, "status": row.status, "video_status": row.video_status}
    return {**before, "original_data": kept_cells(row.original_data)}


def _as_texts(row: RowData) -> RowData:
    """`row` with names as a person reads them: a caller may hand on what the cells held, numbers and rich text."""
    product, model, prompt = (cell_text(cell).strip() for cell in (row.product_name, row.model_name, row.prompt))
    return dataclasses.replace(row, product_name=product, model_name=model, prompt=prompt)


def _relative(output_dir: Path, file: str | Path) -> str | None:
    """As records hold it. A program may name a file from its working directory, or from the output folder."""
    name, here = relative(output_dir, file), relative(output_dir, Path.cwd() / file)
    return here if here is not None and (name is None or not (output_dir / name).exists()) else name
