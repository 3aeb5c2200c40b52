"""The story with a cloud in the place of ComfyUI: each row is paid for once, or a person is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ..bridge.table.database import WorkflowDatabase
from ..bridge.table.records import Stage, TaskRecord
from .batch import Batch, StoryError
from .rows import DemoRow
from .runninghub_host.stand_in import Fault, Output, RunningHubStandIn, Task, Workflow, shows

#: by the names of their workflows in the records, as in `after/config.toml`
_WORKFLOW_IDS: Final = {"图片合成": "1901", "图生视频": "1902"}
_WORKFLOWS: Final = {
    "1901": Workflow(nodes={"6": ("text",), "10": ("image",), "11": ("image",)}, seconds=1.2),
    "1902": Workflow((Output("9", "mp4"),), nodes={"6": ("text",), "10": ("image",)}, seconds=1.5),
}


class CloudStory(Batch):
    """The sheet, the cloud, and `demo/after` as main.py."""

    command = (sys.executable, "-m", "wfrecovery.demo.after")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cloud = RunningHubStandIn(_WORKFLOWS)

    def __enter__(self) -> CloudStory:
        self._stack.enter_context(self.cloud)
        super().__enter__()
        return self

    def environment(self) -> Mapping[str, str]:
        return {
            "RUNNINGHUB_URL": self.cloud.url,
            "RUNNINGHUB_API_KEY": self.cloud.api_key,
            "WFRECOVERY_CONFIG": str(Path(__file__).parent / "after" / "config.toml"),
            "POLL_SECONDS": "0.3",
        }

    def is_made_for(self, row: DemoRow, picture: bytes) -> bool:
        return shows(picture, row.prompt)

    def tables(self) -> list[WorkflowDatabase]:
        return [WorkflowDatabase(self.main_output)]

    # ------------------------------------------------------------------ the story

    def play(self) -> None:
        """A full queue, a lost answer, a kill, an inserted row, a person's decision."""
        self.tell(f"the sheet: {self.feishu.url}  ({len(self.rows)} rows, {self.goal} results to make)")
        self.tell("the cloud: a stand-in of RunningHub, which counts what is paid for; then main.py")
        self.cloud.faults.add(Fault.QUEUE_FULL_421, "create", times=4)
        self.cloud.faults.add(Fault.RESET_AFTER, "create", after=2)
        self.start_main()
        self.wait_for("a full queue", lambda: self.cloud.faults.struck[Fault.QUEUE_FULL_421] == 4)
        self.tell("   the cloud's queue was full 4 times (421): those rows wait, nothing was sent")
        self.wait_for("a lost answer", lambda: self.cloud.faults.struck[Fault.RESET_AFTER] == 1)
        self.tell("   it accepted a row, and its answer was lost: that row is not sent again")
        self.wait_for("2 results in the sheet", lambda: self.results() >= 2 and self._rendering())

        self.kill_main()
        self.tell(f"⚡ SIGKILL: main.py, in the middle of a render; {self.results()} of {self.goal} results are there")
        self.feishu.sheet.insert_row(3, {"产品名": "新品", "模特名": "待定"})
        self.tell("   meanwhile a colleague inserts a row: every row below has another number now")
        self.start_main()
        self.tell("main.py is started again: it fetches what the cloud has rendered, and goes on")
        code = self.wait_main()
        self.tell(f"main.py ended with code {code}: {self.main_log_tail()}")
        for task in self._asking():
            self._decide(task)
        self.start_main()
        self.tell("main.py is started a last time")
        self.last_run_ends_well()

    def _rendering(self) -> bool:
        return any(task.state == "RUNNING" for task in self.cloud.tasks)

    def _asking(self) -> list[TaskRecord]:
        return [task for table in self.tables() for task in table.active() if task.stage is Stage.ASKING]

    def _decide(self, task: TaskRecord) -> None:
        """As a person does who looks at the list of tasks on the service's page."""
        prompt = next(row.prompt for row in self.rows if row.name == f"{task.product_name}_{task.model_name}")
        there = self._paid(prompt, task.workflow_type)
        decision = ("arrived", "--id", there[0].id) if there else ("again", "--local")
        command = [sys.executable, "-m", "wfrecovery.bridge.cli", "decide", task.task_id, *decision]
        decided = subprocess.run(
            command, env=self.main_environment(), capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if decided.returncode != 0:
            raise StoryError(f"wfrecovery decide: {decided.stderr or decided.stdout}")
        self.tell(f"   a person decides: wfrecovery decide {task.task_id} {' '.join(decision)}")

    def _paid(self, prompt: str, workflow_type: str | None) -> list[Task]:
        workflow_id = _WORKFLOW_IDS[str(workflow_type)]
        return [task for task in self.cloud.tasks if task.workflow_id == workflow_id and task.has(prompt)]

    # ------------------------------------------------------------------ checking

    def problems(self) -> list[str]:
        """Everything that is not as it must be: cells, pictures, files, and the cloud's own bill."""
        problems = [*self.wrong_in_sheet(), *self.wrong_saved_files(), *self._wrong_videos(), *self._wrong_bill()]
        self.tell(f"the cloud's bill: {len(self.cloud.tasks)} renders for {self.goal} results")
        return problems

    def _wrong_bill(self) -> Iterator[str]:
        for row in self.rows:
            for needed, kind in ((row.needs_picture, "图片合成"), (row.needs_video, "图生视频")):
                if (times := len(self._paid(row.prompt, kind))) != needed:
                    yield f"{row.name}: {kind} was paid for {times} times instead of {int(needed)}"

    def _wrong_videos(self) -> Iterator[str]:
        for row in self.rows:
            for video in (self.main_output / "video").glob(f"*/{row.name}_*.mp4"):
                if not self.is_made_for(row, video.read_bytes()):
                    yield f"{row.name}: {video.name} shows another row"
