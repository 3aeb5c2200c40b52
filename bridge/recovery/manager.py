"""Recovery in `main.py`: what happens to the tasks that a former run left behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ..engines.comfyui import new_prompt_id
from ..engines.errors import RefusedError, UnreachableError
from ..engines.in_use import EngineInUse
from ..feishu.client import FeishuClient
from ..feishu.group_summary import BatchWatch
from ..feishu.publisher import FlushReport, Publisher
from ..settings import Settings, load_settings
from ..table.lives import Life
from ..table.manager import DatabaseManager
from ..table.names import UnknownTaskError
from ..table.owners import OwnedError
from ..table.record_json import record_to_json
from ..table.records import Stage, TaskError, TaskRecord, WorkflowStatus, WorkflowType
from ..table.rows import RowData
from ..table.values import Owner, OwnerKind
from ..terminal import ProgressBar, language_of
from ..wording import Wording
from .decisions import Action
from .delivering import RunDelivery
from .followers import Followers
from .following import LOOK_SECONDS, Following, Whose
from .numbering import RunNumbering
from .obeying import Obeying
from .plan import RecoveryPlan
from .planning import Batch, Planning
from .retried import follow_retried
from .standing import RunStandstill
from .submitting import Submitting, is_submitted
from .turns import TOGETHER
from .writing import written_at_once

log = logging.getLogger("wfrecovery")

OnProgress = Callable[[int, int], None]
#: Seconds between two looks at owners of whom nothing proves whether they live: silence has to be looked at.
_DOUBT_SECONDS: Final = 5 * LOOK_SECONDS
#: So long a ComfyUI that went down in the middle of a recovery is waited for at the end of a run.
BACK_SECONDS: Final = 300.0
_RECOVERING: Final = Wording("recovering", "正在恢复")


class TaskRecoveryManager:
    """Brings every unfinished task of a table to an end: followed, fetched, submitted again, or failed with a reason.

    What another living process is at work on is left alone. While it follows tasks, the group hears of a batch that
    stands still, where the plugin does not tell. `comfyui_client`: a ComfyUIClient, an Engine, or a team's own client.
    Without `feishu` the settings say where the sheet is; where they do not, or where the plugin publishes itself,
    results are fetched and recorded, and not pushed from here. `settings` (WFRECOVERY_MAX_ATTEMPTS,
    WFRECOVERY_MAX_RENDERS, WFRECOVERY_LOST_PROMPTS and WFRECOVERY_UNKNOWN count here): default is what `feishu` was
    made with, else environment and config.toml. `on_progress`: hears how many of how many tasks are decided; without
    it, a bar on stderr shows that, where that is a terminal.
    """

    def __init__(
        self,
        db_manager: DatabaseManager,
        comfyui_client: Any,
        feishu: FeishuClient | None = None,
        *,
        on_progress: OnProgress | None = None,
        settings: Settings | None = None,
    ) -> None:
        #: as they were given
        self.db_manager, self.comfyui_client = db_manager, comfyui_client
        limits = settings or (feishu.settings if feishu is not None else load_settings())
        feishu = FeishuClient(limits) if feishu is None and limits.feishu_configured else feishu
        db, engine = db_manager, EngineInUse.of(comfyui_client)
        self._db, self._engine, self._feishu, self._on_progress = db, engine, feishu, on_progress
        db.submits = engine.name, self._submit_for_program
        self._publisher = Publisher(db, feishu) if feishu is not None and feishu.configured else None
        if feishu is not None:
            db.document = lambda: feishu.settings.document
        if self._publisher is not None:
            which = self._publisher.which
            db.sheet, db.ask_sheet = lambda: which.sheet, which.ask
        self._delivery = RunDelivery(db, engine, self._publisher)
        self._numbering = RunNumbering(self._delivery.number)
        self._watch = BatchWatch(publishing=self._publisher is not None)
        self._submitting = Submitting(db, engine, self._delivery, limits)
        self._standing = RunStandstill(db, engine, feishu)
        moves = self._standing.progressed
        self._follow = Following(db, engine, self._submitting, self._delivery, limits, on_progress=moves)
        self._planning = Planning(
            db,
            self._submitting,
            self._follow,
            limits=limits,
            to_sheet=self._publisher is not None,
        )
        self._followers, self._obeying = Followers(self._follow), Obeying(db, engine)
        #: tasks that could not be decided: ComfyUI did not answer, or nothing proves yet whether their owner lives
        self._left: dict[str, Life | None] = {}

    # ------------------------------------------------------------------ recovering

    async def check_and_recover_tasks(self) -> list[dict[str, Any]]:
        """Decide for every unfinished task, and do at once what can be done at once.

        Returns the records of the tasks that came to an end. What still waits or renders in ComfyUI is followed in the
        background; `wait_until_done` returns those.
        """
        async with self._standing.watched():
            return await self._check_and_recover()

    async def _check_and_recover(self) -> list[dict[str, Any]]:
        self._db.owners.begin_anew()
        await asyncio.to_thread(self._db.sweep)
        await follow_retried(self._db, self._engine)
        tasks = await asyncio.to_thread(self._unfinished)
        if tasks:
            log.info("[wfrecovery] %d unfinished tasks of a former run", len(tasks))
        for task in tasks:
            self._watch.saw(task)
        ended: list[dict[str, Any]] = []
        with self._progress() as show:
            numbers = itertools.count(1)
            for start in range(0, len(tasks), TOGETHER):
                some = tasks[start : start + TOGETHER]
                ended += await self._recover_all(some, lambda: show(next(numbers), len(tasks)))
        if self._publisher is not None:
            await asyncio.to_thread(self._publisher.unblock)
        await self.publish()
        if tasks:
            who = self._submitting.title
            log.info("[wfrecovery] %d recovered, %d followed in %s", len(ended), len(self._followers.now()), who)
        return [self._db.get_task(task["task_id"]) or task for task in ended]

    @contextlib.contextmanager
    def _progress(self) -> Iterator[OnProgress]:
        """Who wants to hear how many were decided; else the terminal, where there is one."""
        bar = ProgressBar(_RECOVERING.text(language_of()))
        try:
            yield self._on_progress or bar.show
        finally:
            bar.end()

    async def wait_until_done(self) -> list[dict[str, Any]]:
        """Wait for the tasks that are being followed, push their results, and return their records. What does not come
        to an end, as where no file could be fetched, is looked at again by the next call.

        Then the team's group gets one message of the whole run, where a bot is set and the plugin does not tell.
        """
        async with self._standing.watched():
            ended, unended = await self._once_more(), dict[str, Life | None]()
            while followed := self._followers.taken():
                results = dict(zip(followed, await asyncio.gather(*followed.values()), strict=True))
                ended += [record_to_json(result) for result in results.values() if result is not None]
                unended |= {task_id: None for task_id, result in results.items() if result is None}
                ended += await self._decide_what_is_left()
            self._left |= unended
            await self._delivery.publish_rest()
        await self._tell_group()
        return [self._db.get_task(task["task_id"]) or task for task in ended]

    async def recover_image_composition_task(self, task_data: Mapping[str, Any]) -> bool:
        """Bring one 图片合成 task to its end, waiting for it; True when it is 已完成."""
        return await self._recover_one(task_data, WorkflowType.IMAGE_COMPOSITION)

    async def recover_image_to_video_task(self, task_data: Mapping[str, Any]) -> bool:
        """Bring one 图生视频 task to its end, waiting for it; True when it is 已完成."""
        return await self._recover_one(task_data, WorkflowType.IMAGE_TO_VIDEO)

    async def plan(self, batch: Batch | None = None) -> RecoveryPlan:
        """What `check_and_recover_tasks` would do now with every unfinished task, and how many renders that will pay
        for. Asks the engine where they are; writes nothing, in no file and no sheet.

        `batch`: by workflow the rows that would be given to `rows_to_do` after it. Then the plan is that of a whole
        run: also which of these rows would be rendered, which would be left out and why, and which may have been
        rendered before. `plan.lines()` is the same for a person.
        """
        return await self._planning.plan(batch or {})

    # ------------------------------------------------------------------ submitting and following, for the normal batch

    async def submit(self, task_id: str, workflow: Mapping[str, Any]) -> str | None:
        """Submit a task's graph: prompt_id and graph are on disk before the request leaves.

        Returns the prompt_id, or None when ComfyUI refuses the graph (the task is then 失败 with its reason) or a
        person has cancelled the task. When no answer comes, the task keeps its prompt_id: `finish` or the next recovery
        finds out whether it arrived. A task that was submitted before is not submitted twice: its prompt_id is
        returned. Raises OwnedError where another living process is at work on it, TaskError where another engine was
        sent it, and RenderLimitError where this run has sent as many as the setting WFRECOVERY_MAX_RENDERS allows: the
        task then is the next run's to send.
        """
        prompt_id = new_prompt_id()
        graph = {"prompt_id": prompt_id, "prompt": dict(workflow)}
        self._db.owners.work.begin(task_id)
        try:
            async with self._db.owners.work.deciding(task_id):
                task = await written_at_once(self._db, task_id, self._submitting.beginning)
                if task.stage.final or is_submitted(task):
                    return task.comfyui_task_id
                if workflow:  # else nothing can be kept of it, and what is lost is the next batch's
                    anew = task.comfyui_task_id is None and task.sending is None
                    await asyncio.to_thread(self._db.table.write_graph, task_id, graph, replace=anew)
                submitting = partial(self._submitting.first, prompt_id, await self._submitting.naming(task))
                async with self._submitting.in_turn():
                    with self._submitting.allowance.held(task_id):
                        task = await written_at_once(self._db, task_id, submitting)
                    if not self._submitting.is_on_its_way(task, prompt_id):
                        self._submitting.allowance.give_back(task_id)
                        return task.comfyui_task_id
                    self._numbering.entered()
                    return await self._submitting.send(task, workflow)
        except OwnedError:
            raise
        except BaseException:  # nobody is at work on it from here on
            self._follow.holding.let_go(task_id)
            raise

    async def _submit_for_program(self, task_id: str, workflow: Mapping[str, Any], before: bool) -> str | None:
        """For a program that calls `submit_workflow` itself, and takes what is raised for the task's failure. `before`:
        it has done so for this task, and when that has ended, the workflow is another one, hence None."""
        task = await self._follow.read(task_id)
        if before and not task.stage.final:
            raise TaskError(
                Wording(
                    f"{task_id} was submitted already, as {task.comfyui_task_id} → follow it (wait_for_completion)",
                    f"{task_id} 已提交（{task.comfyui_task_id}）→ 请用 wait_for_completion 等待它",
                )
            )
        if task.stage.final:
            if not before and (task.stage is Stage.CANCELLED or task.comfyui_task_id is None):
                raise RefusedError(task.reason or Wording(f"{task_id} is finished already", f"{task_id} 已完成"))
            return None if before else task.comfyui_task_id
        job_id = await self.submit(task_id, workflow)
        task = await self._follow.read(task_id)
        if task.cancel_requested and job_id is not None:  # meanwhile: nobody else may look before it is rendered
            task = await self._follow.to_the_end(task_id)
        why = task.reason or Wording(f"no answer came to {task_id}", f"{task_id} 没有收到应答")
        if task.stage in (Stage.FAILED, Stage.CANCELLED):
            raise RefusedError(why)
        if job_id is None or task.stage in (Stage.ASKING, Stage.CREATED):
            raise UnreachableError(why.en)
        self._obeying.begin(task_id)
        return job_id

    async def finish(self, task_id: str) -> dict[str, Any]:
        """Follow a submitted task to its end, fetch its files, push (later: WFRECOVERY_GATHER_SECONDS), and return its
        record; before the end where the task waits for a person's decision, or its result cannot be fetched now.
        """
        followed = self._followers.now().get(task_id)
        with contextlib.nullcontext() if followed is not None else self._follow.holding.of(task_id):
            task = await self._follow.read(task_id)
            self._watch.saw(task)
            if not task.stage.final:
                async with self._standing.watched():
                    await (asyncio.shield(followed) if followed is not None else self._follow.to_the_end(task_id))
        if not await self._delivery.is_in_good_hands(await self._follow.read(task_id)):
            await self._delivery.publish_in_company()
        return record_to_json(await self._follow.read(task_id))

    def rows_to_do(self, rows: Sequence[RowData], workflow_type: WorkflowType | str) -> list[RowData]:
        """`rows`, of one reading of the sheet, without those that a task is at work on, or whose result still has to
        reach the sheet; nor those of which nothing tells them apart, where there is a sheet. How many will be paid for,
        how many of these again and why, is logged."""
        if self._publisher is not None:
            self._publisher.which.note_if_possible()  # tasks of another sheet keep no row of this one
        return self._planning.rows_to_do(rows, workflow_type)

    async def publish(self) -> FlushReport:
        """Deliver what waits in the outbox and is this table's to deliver; the rest is the plugin's."""
        return await self._delivery.publish()

    async def _tell_group(self) -> None:
        """One message, never an error: a batch does not fail because its summary cannot be sent."""
        feishu = self._feishu
        if feishu is None or not feishu.settings.feishu_webhook_url or await self._delivery.plugin_publishes():
            return
        await asyncio.to_thread(self._watch.look_at, self._db.table)
        summary = self._watch.over(at_once=True)
        if summary is not None:
            await self._standing.tell_summary(summary)

    # ------------------------------------------------------------------ one task

    async def _recover_one(self, task: Mapping[str, Any], expected: WorkflowType) -> bool:
        record = await self._follow.read(str(task["task_id"]))
        if record.workflow_type != expected.value:
            raise ValueError(f"{record.task_id} is {record.workflow_type}, not {expected.value}")
        async with self._standing.watched():
            ended = record if record.stage.final else await self._recover_guarded(record)
            if ended is None and record.task_id in self._followers.now():
                ended = await self._followers.now().pop(record.task_id)
        await self.publish()
        return ended is not None and ended.status is WorkflowStatus.COMPLETED

    async def _recover_all(
        self, tasks: Iterable[TaskRecord], decided: Callable[[], object] = lambda: None
    ) -> list[dict[str, Any]]:
        """Those that nobody here brings to their end already. `decided`: is called after each."""
        followed, work = self._followers.now(), self._db.owners.work
        left = [task for task in tasks if task.task_id not in followed and not work.on(task.task_id)]
        results = await asyncio.gather(*(self._recover_guarded(task, decided) for task in left))
        return [record_to_json(task) for task in results if task is not None]

    async def _recover_guarded(
        self, task: TaskRecord, decided: Callable[[], object] = lambda: None
    ) -> TaskRecord | None:
        """One task's trouble does not stop the others."""
        try:
            return await self._recover(task)
        except OwnedError as error:
            log.info("[wfrecovery] %s", error)
        except Exception:
            self._left[task.task_id] = None
            log.exception("[wfrecovery] %s could not be recovered now; it stays as it is", task.task_id)
        finally:
            decided()
        return None

    async def _recover(self, task: TaskRecord) -> TaskRecord | None:
        """Its record when it has ended; None when it is followed, left for later, or somebody else's."""
        self._left.pop(task.task_id, None)
        if not self._submitting.is_ours(task):
            log.info("[wfrecovery] %s is left alone: %s renders it", task.task_id, task.engine)
            return None
        owner = await self._who_else(task)
        if owner is not None:
            life = await asyncio.to_thread(self._db.owners.life, owner)
            if life in (Life.DOUBT, Life.DEAD):  # not sure yet, or just now
                self._left[task.task_id] = Life.DOUBT
            log.info("[wfrecovery] %s", OwnedError(task.task_id, owner, self._db.owners.name_of(owner)))
            return None
        whose = await self._follow.whose(task)
        if whose is Whose.UNKNOWN:
            self._left[task.task_id] = None
            return None
        if whose is Whose.OURS:
            task, decision = await self._follow.once(task)
            if decision.action is Action.LEAVE:
                if task.task_id not in self._db.unsent:
                    self._left[task.task_id] = None
                return None
            if task.stage.final:
                return task
            if decision.action is Action.ASK:
                return None
        elif task.row_number is None or task.stage is Stage.ASKING:
            return None  # the page's: nobody waits for it here
        self._followers.begin(task.task_id)
        return None

    async def _who_else(self, task: TaskRecord) -> Owner | None:
        """Who is, or may be, at work on it, so that its result is not this run's to report. Of what a ComfyUI renders
        that is the batch that entered it, or the page."""
        owner = await self._follow.at_work(task)
        if owner is None or owner.kind != OwnerKind.COMFYUI or task.row_number is None:
            return owner
        if task.batch is None:
            return None
        batch = Owner(OwnerKind.MAIN, task.batch)
        life = await asyncio.to_thread(self._db.owners.life, batch)
        return None if life in (Life.OURS, Life.DEAD) else batch

    async def _once_more(self) -> list[dict[str, Any]]:
        """What could not be decided yet: again where ComfyUI did not answer, for some time where it has gone down
        meanwhile, and until it is known who of the owners lives. What is left then is the next call's."""
        clock = asyncio.get_running_loop().time
        end, away = clock() + BACK_SECONDS, bool(self._left) and await self._engine.is_away()
        ended = await self._decide_what_is_left()
        if self._left and away:
            log.warning("[wfrecovery] %d tasks wait for an answer of %s", len(self._left), self._submitting.title)
        while Life.DOUBT in self._left.values() or (self._left and away and clock() < end):
            await asyncio.sleep(_DOUBT_SECONDS)
            away = await self._engine.is_away()  # else it is there, and this try is the last
            ended += await self._decide_what_is_left()
        return ended

    async def _decide_what_is_left(self) -> list[dict[str, Any]]:
        left, self._left = self._left, {}
        tasks = []
        for task_id in left:
            with contextlib.suppress(UnknownTaskError):  # somebody has emptied the folder
                tasks.append(await self._follow.read(task_id))
        return await self._recover_all(task for task in tasks if task.stage is not Stage.ASKING)

    def _unfinished(self) -> list[TaskRecord]:
        """What has to be decided. What waits for a person is the page's."""
        return [task for task in self._db.table.active() if not task.stage.final and task.stage is not Stage.ASKING]
