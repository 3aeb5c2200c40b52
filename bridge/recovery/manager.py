"""Recovery in `main.py`: what happens to the tasks that a former run left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..engines.comfyui import ComfyUIError, FileUnavailableError, PromptRefusedError, WorkflowClient, new_prompt_id
from ..engines.history import ABSENT, Place, Sighting
from ..feishu.client import FeishuClient
from ..feishu.group_summary import BatchWatch, tell_group
from ..feishu.publisher import FlushReport, Publisher
from ..results.contents import Contents
from ..results.expected import NodeClass, expected_files
from ..results.file_names import result_path
from ..results.find import Found, find_results
from ..results.whole_result import whole_result
from ..table.manager import DatabaseManager, unsubmitted
from ..table.record_json import record_to_json
from ..table.records import Stage, TaskRecord, WorkflowStatus, WorkflowType, parse_time, workflow_type_of
from ..table.rows import RowData
from ..table.values import Result
from .collecting import Fetched, adopted, collected, files_here
from .decisions import Action, Decision, decide
from .delivering import RunDelivery

log = logging.getLogger("wfrecovery")

#: Tasks looked up, followed and fetched at the same time.
BATCH: Final = 8
#: Before a prompt that is nowhere counts as lost, it is looked for again.
SECOND_LOOK_SECONDS: Final = 1.0

OnProgress = Callable[[int, int], None]


class TaskRecoveryManager:
    """Brings every unfinished task of a table to an end: followed, fetched, submitted again, or failed with a reason.

    Without `feishu`, or where the plugin publishes itself, results are fetched and recorded, and not pushed from here.
    """

    def __init__(
        self,
        db: DatabaseManager,
        comfy: WorkflowClient,
        feishu: FeishuClient | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._db, self._comfy, self._feishu, self._on_progress = db, comfy, feishu, on_progress
        self._publisher = Publisher(db, feishu) if feishu is not None and feishu.configured else None
        self._delivery = RunDelivery(db, comfy, self._publisher)
        self._watch = BatchWatch(publishing=self._publisher is not None)
        self._following: dict[str, asyncio.Task[TaskRecord | None]] = {}
        self._on_disk: Mapping[str, Sequence[Found]] = {}
        self._places = asyncio.Semaphore(BATCH)
        self._left: list[TaskRecord] = []

    # ------------------------------------------------------------------ recovering

    async def check_and_recover_tasks(self) -> list[dict[str, Any]]:
        """Decide for every unfinished task, and do at once what can be done at once.

        Returns the records of the tasks that came to an end. What still waits or renders in ComfyUI is followed in the
        background; `wait_until_done` returns those.
        """
        await asyncio.to_thread(self._db.table.sweep)
        tasks = await asyncio.to_thread(lambda: [task for task in self._db.table.active() if not task.stage.final])
        if tasks:
            log.info("[wfrecovery] %d unfinished tasks of a former run", len(tasks))
        for task in tasks:
            self._watch.saw(task)
        self._on_disk = await asyncio.to_thread(self._results_on_disk, tasks)
        ended: list[dict[str, Any]] = []
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            results = await asyncio.gather(*map(self._recover_guarded, batch))
            ended += [record_to_json(task) for task in results if task is not None]
            if self._on_progress is not None:
                self._on_progress(min(start + BATCH, len(tasks)), len(tasks))
        if self._publisher is not None:
            await asyncio.to_thread(self._publisher.unblock)
        await self.publish()
        if tasks:
            log.info("[wfrecovery] %d recovered, %d followed in ComfyUI", len(ended), len(self._following))
        return [self._db.get_task(task["task_id"]) or task for task in ended]

    async def wait_until_done(self) -> list[dict[str, Any]]:
        """Wait for the tasks that are being followed, push their results, and return their records.

        Then the team's group gets one message of the whole run, where a bot is set and the plugin does not tell.
        """
        left, self._left = self._left, []  # ComfyUI could not be asked then: once more
        ended = [
            record_to_json(task) for task in await asyncio.gather(*map(self._recover_guarded, left)) if task is not None
        ]
        while self._following:
            followed, self._following = self._following, {}
            for result in await asyncio.gather(*followed.values()):
                if result is not None:
                    ended.append(record_to_json(result))
        await self._delivery.publish_rest()
        await self._tell_group()
        return [self._db.get_task(task["task_id"]) or task for task in ended]

    async def recover_image_composition_task(self, task: Mapping[str, Any]) -> bool:
        """Bring one 图片合成 task to its end, waiting for it; True when it is 已完成."""
        return await self._recover_one(task, WorkflowType.IMAGE_COMPOSITION)

    async def recover_image_to_video_task(self, task: Mapping[str, Any]) -> bool:
        """Bring one 图生视频 task to its end, waiting for it; True when it is 已完成."""
        return await self._recover_one(task, WorkflowType.IMAGE_TO_VIDEO)

    # ------------------------------------------------------------------ submitting and following, for the normal batch

    async def submit(self, task_id: str, workflow: Mapping[str, Any]) -> str | None:
        """Submit a task's graph: prompt_id and graph are on disk before the request leaves.

        Returns the prompt_id, or None when ComfyUI refuses the graph (the task is then 失败 with its reason). When no
        answer comes, the task keeps its prompt_id: `finish` or the next recovery finds out whether it arrived.
        """
        prompt_id = new_prompt_id()
        graph = {"prompt_id": prompt_id, "prompt": dict(workflow)}
        await asyncio.to_thread(self._db.table.write_graph, task_id, graph)
        task = await asyncio.to_thread(self._db.table.update, task_id, partial(_to_submit, prompt_id))
        if task.comfyui_task_id != prompt_id:  # entered before, by us or by another main.py: never submitted twice
            return task.comfyui_task_id
        return await self._send(task, workflow)

    async def finish(self, task_id: str) -> dict[str, Any]:
        """Follow a submitted task to its end, fetch its files, push, and return its record."""
        task = await asyncio.to_thread(self._db.table.get, task_id)
        self._watch.saw(task)
        if not task.stage.final:
            await self._follow(task)
        if not await self._delivery.plugin_publishes():
            await self.publish()
        return record_to_json(await asyncio.to_thread(self._db.table.get, task_id))

    def rows_to_do(self, rows: Sequence[RowData], workflow_type: WorkflowType | str) -> list[RowData]:
        """`rows` without those that a task is at work on, or whose result still has to reach the sheet."""
        kind = workflow_type_of(workflow_type).value
        taken = {
            (task.product_name, task.model_name, task.prompt)
            for task in self._db.table.active()
            if task.workflow_type == kind and task.status is not WorkflowStatus.FAILED
        }
        return [row for row in rows if (row.product_name, row.model_name, row.prompt) not in taken]

    async def publish(self) -> FlushReport:
        """Deliver what waits in the outbox: by the plugin where it has Feishu settings, else from here."""
        return await self._delivery.publish()

    async def _tell_group(self) -> None:
        """One message, never an error: a batch does not fail because its summary cannot be sent."""
        feishu = self._feishu
        if feishu is None or not feishu.settings.feishu_webhook_url or await self._delivery.plugin_publishes():
            return
        await asyncio.to_thread(self._watch.look_at, self._db.table)
        summary = self._watch.over(at_once=True)
        if summary is not None:
            await asyncio.to_thread(tell_group, feishu, summary)

    # ------------------------------------------------------------------ one task

    async def _recover_one(self, task: Mapping[str, Any], expected: WorkflowType) -> bool:
        record = await asyncio.to_thread(self._db.table.get, str(task["task_id"]))
        if record.workflow_type != expected.value:
            raise ValueError(f"{record.task_id} is {record.workflow_type}, not {expected.value}")
        ended = record if record.stage.final else await self._recover_guarded(record)
        if ended is None and record.task_id in self._following:
            ended = await self._following.pop(record.task_id)
        await self.publish()
        return ended is not None and ended.status is WorkflowStatus.COMPLETED

    async def _recover_guarded(self, task: TaskRecord) -> TaskRecord | None:
        """One task's trouble does not stop the others."""
        try:
            return await self._recover(task)
        except Exception:
            log.exception("[wfrecovery] %s could not be recovered; it stays as it is", task.task_id)
            return None

    async def _recover(self, task: TaskRecord) -> TaskRecord | None:
        sighting = await self._comfy.look_up(task.comfyui_task_id) if task.comfyui_task_id else ABSENT
        if task.comfyui_task_id and sighting.place is Place.ABSENT:
            # A request that timed out may still be on its way through ComfyUI's validation.
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            sighting = await self._comfy.look_up(task.comfyui_task_id)
        graph = await asyncio.to_thread(self._db.table.graph, task.task_id)
        whole = await self._whole(task, graph) if graph and sighting.place is Place.ABSENT else None
        decision = decide(task, sighting, on_disk=whole is not None, has_graph=graph is not None)
        log.info("[wfrecovery] %s (row %s): %s", task.task_id, task.row_number, decision.reason)
        match decision.action:
            case Action.ADOPT:
                change = await asyncio.to_thread(adopted, self._db, task, whole or ())
                await asyncio.to_thread(self._db.table.update, task.task_id, change)
                return await asyncio.to_thread(self._db.table.get, task.task_id)
            case Action.LEAVE:
                self._left.append(task)
                return None
            case Action.COLLECT:
                return await self._collect(task, sighting)
            case Action.FAIL | Action.CANCEL:
                return await self._give_up(task, decision)
            case Action.REQUEUE | Action.ASK if graph is not None:
                if task.comfyui_task_id is None:  # died between writing the graph and noting its prompt_id
                    prompt_id = str(graph.get("prompt_id") or new_prompt_id())
                    task = await asyncio.to_thread(self._db.table.update, task.task_id, partial(_to_submit, prompt_id))
                if await self._send(task, graph["prompt"]) is None:
                    return await asyncio.to_thread(self._db.table.get, task.task_id)
        self._following[task.task_id] = asyncio.create_task(self._follow_guarded(task))
        return None

    async def _whole(self, task: TaskRecord, graph: Mapping[str, Any]) -> tuple[Result, ...] | None:
        """All files of a prompt that was cut off, where they lie in our folder; how many it makes is asked of ComfyUI
        where the plugin has not noted it."""
        found = self._on_disk.get(task.task_id, ())
        if not found and not task.nodes:
            return None
        if not graph.get("outputs_to_execute"):
            graph = {**graph, **await self._expected(graph["prompt"])}
        return await asyncio.to_thread(
            whole_result, task, graph, found, Contents(self._db.table.files, self._db.output_dir)
        )

    async def _expected(self, prompt: Mapping[str, Any]) -> dict[str, Any]:
        """For which nodes a prompt runs, and how many files each makes; nothing where the client cannot tell."""
        ask = getattr(self._comfy, "node_classes", None)
        if ask is None:
            return {}
        try:
            classes = await ask(prompt)
        except ComfyUIError:
            return {}
        outputs = [node for node, inner in prompt.items() if _is_output(inner, classes)]
        return {"outputs_to_execute": outputs, "files": expected_files(prompt, outputs, classes)}

    def _results_on_disk(self, tasks: Sequence[TaskRecord]) -> dict[str, list[Found]]:
        """Where `main.py` shares ComfyUI's output folder, results lie there already."""
        prompts = {task.task_id: task.comfyui_task_id for task in tasks if task.comfyui_task_id}
        since = min((parse_time(task.created_at) for task in tasks), default=0.0)
        return find_results(self._db.output_dir, prompts, since)

    async def _send(self, task: TaskRecord, workflow: Mapping[str, Any]) -> str | None:
        try:
            prompt_id = await self._comfy.submit_workflow(
                workflow, prompt_id=task.comfyui_task_id, task=record_to_json(task)
            )
        except PromptRefusedError as error:
            await asyncio.to_thread(self._db.mark_task_failed, task.task_id, error.reason)
            return None
        except ComfyUIError as error:
            log.warning("[wfrecovery] %s: %s", task.task_id, error)
            return task.comfyui_task_id
        if prompt_id != task.comfyui_task_id:
            await asyncio.to_thread(self._db.update_task_comfyui_id, task.task_id, prompt_id)
        return prompt_id

    async def _follow_guarded(self, task: TaskRecord) -> TaskRecord | None:
        try:
            return await self._follow(task)
        except Exception:
            log.exception("[wfrecovery] %s could not be followed; it stays as it is", task.task_id)
            return None

    async def _follow(self, task: TaskRecord) -> TaskRecord | None:
        async with self._places:
            # Again as long as it gets lost: a request that never arrived, a ComfyUI without the plugin that restarted.
            for attempt in range(1, 4):
                sighting = await self._comfy.wait_for_completion(task.comfyui_task_id or "")
                graph = await asyncio.to_thread(self._db.table.graph, task.task_id)
                counted = dataclasses.replace(task, attempts=attempt)
                decision = decide(counted, sighting, on_disk=False, has_graph=graph is not None)
                if decision.action is Action.COLLECT:
                    return await self._collect(task, sighting)
                if decision.action is not Action.REQUEUE or graph is None:
                    return await self._give_up(task, decision)
                log.info("[wfrecovery] %s: %s", task.task_id, decision.reason)
                if await self._send(task, graph["prompt"]) is None:
                    break
        return await asyncio.to_thread(self._db.table.get, task.task_id)

    async def _give_up(self, task: TaskRecord, decision: Decision) -> TaskRecord:
        if decision.action is Action.CANCEL:
            await asyncio.to_thread(self._db.cancel_task, task.task_id, decision.reason)
        elif decision.row_stays_open:
            await asyncio.to_thread(self._db.table.update, task.task_id, partial(unsubmitted, decision.reason))
        else:
            await asyncio.to_thread(self._db.mark_task_failed, task.task_id, decision.reason)
        return await asyncio.to_thread(self._db.table.get, task.task_id)

    async def _collect(self, task: TaskRecord, sighting: Sighting) -> TaskRecord | None:
        """Fetch the files of a finished prompt and finish the task; a network fault leaves it for later."""
        current = await asyncio.to_thread(self._db.table.get, task.task_id)
        if current.stage is Stage.FINISHED:  # the plugin shares our table and was faster
            return current
        try:
            fetched = await self._fetch_all(current, sighting)
        except (ComfyUIError, OSError) as error:
            log.warning("[wfrecovery] %s: %s; tried again later", task.task_id, error)
            return None
        change = await asyncio.to_thread(partial(collected, self._db, current, fetched))
        await asyncio.to_thread(self._db.table.update, task.task_id, change)
        if fetched.paths and await self._delivery.plugin_publishes():
            await asyncio.to_thread(self._db.table.update, task.task_id, _by_plugin)
        return await asyncio.to_thread(self._db.table.get, task.task_id)

    async def _fetch_all(self, task: TaskRecord, sighting: Sighting) -> Fetched:
        """Where each of the named files is: where ComfyUI wrote it, if that is our output folder, else a copy in the
        house style. One that cannot be had does not keep the others."""
        paths: list[tuple[Path, str | None]] = []
        here: set[Path] = set()
        problems: list[str] = []
        for index, file in enumerate(sighting.files):
            there = await asyncio.to_thread(files_here, self._db.output_dir, task, file)
            if there:
                paths += [(path, file.node) for path in there]
                here.update(there)
                continue
            if not file.sure:  # a text that looks like a file's name
                continue
            target = result_path(self._db.output_dir, task, file.filename, index)
            try:
                await self._comfy.download(file, target)
            except FileUnavailableError as error:
                problems.append(str(error))
            else:
                paths.append((target, file.node))
        return Fetched(tuple(paths), frozenset(here), tuple(problems))


def _is_output(node: Any, classes: Mapping[str, NodeClass]) -> bool:
    known = classes.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
    return known is not None and known.output_node


def _to_submit(prompt_id: str, task: TaskRecord) -> TaskRecord:
    return task if task.comfyui_task_id else dataclasses.replace(task, comfyui_task_id=prompt_id)


def _by_plugin(task: TaskRecord) -> TaskRecord:
    return task.with_outbox(by="plugin")
