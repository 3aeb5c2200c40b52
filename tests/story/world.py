"""The world of a story: one ComfyUI that dies and comes back, one sheet in Feishu, and the people between them.

What is done to it is done by plain methods, so that a story that the machine has found is told again in a few lines.
Nobody here asks the product what is true: each file says itself which rendering it is (`marks`), each row of the sheet
which one it is (`MARK`, a column that the product does not know), and what was written and started is counted here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from life import MOST_TURNS, Life
from line import Line
from marks import number_of
from place import MEMORY, in_the_place_of_comfyui
from process import Computer, Killed
from savers import IMAGE, SAVERS, SHAPES, Shape, Sketch, Studio
from table_support import Steps

from wfrecovery.demo.feishu_host import sheet as grid
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, Fault, FeishuStandIn

#: The column that says which row a row is.
MARK = "记号"
ROWS = 3
STATUS_OF = {IMAGE: "图片是否已处理", "图生视频": "视频是否已实现"}
PICTURE = "产品模特合成图"
#: Faults of single calls that people meet; each is over by itself.
FAULTS = (
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.HTML_502,
    Fault.HTML_502_AFTER,
    Fault.HALF_BODY,
    Fault.SLOW,
    Fault.RATE_LIMIT_429,
    Fault.INTERNAL_90203,
    Fault.BUSY_90235,
    Fault.TOKEN_REVOKED_400,
    Fault.HALF_BATCH,
)
#: Longer than any back-off.
LATER = 700.0
#: Flushes after which nothing may be waiting any more.
MOST_FLUSHES = 60


@dataclass(eq=False)
class File:
    """One file that a saver has begun to write."""

    number: int
    run: Run
    node: str
    index: int
    #: it is what the saver makes; else a poster beside it
    counts: bool
    whole: bool = False
    #: overwritten, moved or deleted since
    touched: bool = False


@dataclass(eq=False)
class Run:
    """One time that ComfyUI began to run a prompt."""

    prompt_id: str
    task_id: str
    graph: int
    shape: Shape
    files: list[File] = field(default_factory=list)
    #: nodes that have ended, and of which that has been recorded
    ended: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)
    cached: set[str] = field(default_factory=set)
    failed: bool = False

    @property
    def savers(self) -> dict[str, str]:
        return {str(9 + place): name for place, name in enumerate(self.shape.savers)}

    def of(self, node: str) -> list[File]:
        """The whole files that the node makes."""
        return [file for file in self.files if file.node == node and file.counts and file.whole]

    @property
    def whole(self) -> bool:
        """Each saver has written each of its files."""
        return all(len(self.of(node)) == self.shape.batch for node in self.savers)

    @property
    def touched(self) -> bool:
        return any(file.touched for file in self.files)

    @property
    def surely_whole(self) -> bool:
        """It is whole, and that can be known: by the node classes, or because its nodes have ended and it was noted."""
        if not self.whole or self.touched or self.cached:
            return False
        classes = {node: SAVERS[name] for node, name in self.savers.items()}
        if all(saver.KNOWN and saver.TAGGED for saver in classes.values()):
            return True
        silent = [saver for saver in classes.values() if not saver.NAMES]
        findable = not silent or (len(classes) == 1 and not silent[0].KNOWN and silent[0].TAGGED)
        return findable and classes.keys() <= self.recorded


@dataclass(eq=False)
class Post:
    """One `POST /prompt`."""

    prompt_id: str
    row: int | None
    graph: int
    shape: Shape
    answered: bool = False


class World:
    """`six`: the newer shape of queue items. `lost`: the setting for lost prompts without a row."""

    def __init__(self, *, six: bool = True, lost: str = "ask") -> None:
        self.base = Path(tempfile.mkdtemp(prefix="wfrecovery-story-", dir=MEMORY))
        self.output, self.desk = self.base / "output", self.base / "desk"
        for folder in (self.output, self.desk, self.base / "user", self.base / "temp"):
            folder.mkdir()
        self.computer = Computer()
        self._undo = contextlib.ExitStack()
        self._undo.enter_context(mock.patch.multiple(grid, GRID_ROWS=ROWS + 3, GRID_COLUMNS=len(DEFAULT_HEADER) + 2))
        header = (*DEFAULT_HEADER, MARK)
        self.feishu = FeishuStandIn(
            [_row(number) for number in range(1, ROWS + 1)],
            header=header,
            spreadsheet_token=f"story{os.getpid()}",
            clock=self.clock,
        )
        limits = self.feishu.limits
        limits.sheet_calls_per_second = limits.sheet_v3_calls_per_minute = limits.downloads_per_second = None
        self.line = Line(self.feishu)
        environment = {**self.feishu.environment(), "WFRECOVERY_LOST_PROMPTS": lost}
        in_the_place_of_comfyui(self._undo, self.base, six, environment, Studio(self._file, self._put, self._fails))
        self.life: Life | None = None
        self.posts: list[Post] = []
        self.runs: list[Run] = []
        self.files: list[File] = []
        #: what each file holds, by its hash
        self.contents: dict[str, File] = {}
        #: where each file lies
        self.lying: dict[Path, File] = {}
        self.starts: Counter[str] = Counter()
        #: how often one was counted, by task, and SIGKILL came before it began: the first prompt of a life is so
        self.unbegun: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()
        #: how often a person has asked for something, by task
        self.asked: Counter[str] = Counter()
        #: tasks whose result is there and can be known to be
        self.known: set[str] = set()
        #: what went wrong, where nobody could be told
        self.wrongs: list[str] = []
        self.moods: set[str] = set()
        self._cut = False
        self._calls: tuple[int, str] | None = None
        self._written_at = 0

    def close(self) -> None:
        """End the story."""
        if self.life is not None:
            self.life.bury()
        self._undo.close()
        shutil.rmtree(self.base)

    def clock(self) -> float:
        return time.time() + self.computer.now

    # ------------------------------------------------------------------ life and death

    @property
    def alive(self) -> bool:
        return self.life is not None

    def start(self, *, dies: int | None = None, working: bool = False, late: bool = False) -> None:
        """Start ComfyUI, with its recovery to the end. `dies`: at which operation of the disk; `working`: the worker
        goes on meanwhile; `late`: it comes to the queue when the plugins listen already."""
        self.known = {run.task_id for run in self._last_runs().values() if run.surely_whole} & self._open()
        self._counted = self._attempts()
        self.life = Life(
            self.computer,
            began=self._began,
            session=lambda life: self.line.session(self._passing),
            clock=self.clock,
            late=late,
        )
        with self.mortal(dies) as life:
            life.boot(self._turn if working else None)

    def kill(self, *, writing: bool = False) -> None:
        """SIGKILL, now; `writing`: in the middle of the next file of a saver, if it comes to that."""
        if writing:
            self._cut = True
            with self.mortal():
                for _ in range(4):
                    self._turn()
            self._cut = False
        if self.life is not None:
            self._bury()

    @contextlib.contextmanager
    def mortal(self, dies: int | None = None) -> Iterator[Life]:
        """What is done in here may end in death; `dies`: at this operation of the disk."""
        life = self.life
        assert life is not None, "ComfyUI is down"
        steps = None if dies is None else Steps(dies, life.die)
        life.watch = steps
        try:
            yield life
        except Killed:
            pass
        finally:
            life.watch = None
            if life.dead:
                self._bury()

    def _bury(self) -> None:
        life, self.life = self.life, None
        if life is not None:
            waited = life.worker.waits
            life.bury()
            if waited:
                unbegun = self._attempts() - self._counted
                assert unbegun.total() <= 1, f"only the first prompt is counted before it begins: {unbegun}"
                self.unbegun += unbegun

    # ------------------------------------------------------------------ ComfyUI

    def post(
        self, row: int | None, shape: str = "one", *, same_id: Post | None = None, dies: int | None = None
    ) -> Post:
        """Send a new graph. `same_id`: under the id of an earlier one."""
        return self._send(row, len(self.posts) + 1, SHAPES[shape], same_id, dies)

    def again(self, post: Post, row: int | None, *, dies: int | None = None) -> Post:
        """Send an earlier graph again, for the same row or another."""
        return self._send(row, post.graph, post.shape, None, dies)

    def _send(self, row: int | None, graph: int, shape: Shape, same_id: Post | None, dies: int | None) -> Post:
        number = len(self.posts) + 1
        prompt_id = same_id.prompt_id if same_id is not None else str(uuid.UUID(int=number, version=4))
        post = Post(prompt_id, row, graph, shape)
        self.posts.append(post)
        extra = {} if row is None else {"wfrecovery": _tag(row, shape.workflow)}
        with self.mortal(dies) as life:
            status, answer = life.post({"prompt": shape.graph(graph), "prompt_id": prompt_id, "extra_data": extra})
            assert status == 200, answer
            post.answered = True
        return post

    def work(self, turns: int = 1, *, dies: int | None = None) -> None:
        """The worker goes on."""
        with self.mortal(dies):
            for _ in range(turns):
                if not self._turn():
                    break

    def work_all(self) -> None:
        """The worker ends all that is in the queue."""
        self.work(MOST_TURNS)
        if self.life is not None and self.life.worker.turn():
            raise AssertionError("the queue does not come to its end")

    def _turn(self) -> bool:
        life = self.life
        assert life is not None
        went_on = life.worker.turn()
        if self.runs and (progress := life.server.progress) is not None:
            run = self.runs[-1]
            if progress.prompt_id == run.prompt_id:
                run.ended |= {node for node, state in progress.nodes.items() if state["state"] == "finished"}
                for event, data in life.worker.executor.status_messages:
                    run.cached |= set(data["nodes"]) if event == "execution_cached" else set()
        self._noted()
        return went_on

    def _noted(self) -> None:
        """What was told so far is recorded, unless the writing thread is behind."""
        if self.life is not None and not self.life.pen.jobs and self.runs:
            self.runs[-1].recorded |= self.runs[-1].ended

    def lag(self, slow: bool, *, dies: int | None = None) -> None:
        """The disk becomes slow: records are written later; or it becomes fast again."""
        with self.mortal(dies) as life:
            life.pen.slow = slow
            if not slow:
                life.pen.catch_up()
                self._noted()

    def recover(self, *, dies: int | None = None) -> None:
        """A person lets the recovery run once more."""
        with self.mortal(dies) as life:
            life.recover()

    # ------------------------------------------------------------------ Feishu

    def flush(self, *, dies: int | None = None, call: tuple[int, str] | None = None) -> None:
        """The publisher has its turn. `call`: it dies before or after its n-th call."""
        self._calls = call
        with self.mortal(dies) as life:
            life.flush()
        self._calls = None

    def _passing(self, when: str) -> None:
        life = self.life
        assert life is not None
        life.check()
        if self._calls is not None and self._calls[1] == when:
            self._calls = (self._calls[0] - 1, when)
            if self._calls[0] == 0:
                life.die()

    def fault(self, fault: Fault, match: str = "", after: int = 0) -> None:
        """The next call that it can strike fails in this way."""
        self.feishu.faults.add(fault, match, after=after, seconds=100.0)

    def away(self, away: bool) -> None:
        """Feishu goes off the net, or comes back."""
        self.line.away = away

    def wait(self) -> None:
        """Time goes by."""
        self.computer.now += LATER

    # ------------------------------------------------------------------ people

    def take_away(self, file: File, *, delete: bool) -> None:
        """A person moves a finished file out of the output folder, or deletes it."""
        path = next(path for path, lying in self.lying.items() if lying is file)
        file.touched = True
        del self.lying[path]
        if delete:
            path.unlink()
        else:
            path.rename(self.desk / f"{file.number}{path.suffix}")

    def act(self, task_id: str, action: str, *, dies: int | None = None) -> None:
        """A person presses retry or push."""
        with self.mortal(dies) as life:
            before, starts, unbegun = self.asked[task_id], self.starts.pop(task_id, 0), self.unbegun.pop(task_id, 0)
            self.asked[task_id] += 1
            known = task_id in self.known
            self.known.discard(task_id)
            if life.act(task_id, action) >= 400:  # refused: as if nobody had asked
                self.asked[task_id], self.starts[task_id], self.unbegun[task_id] = before, starts, unbegun
                self.known |= {task_id} if known else set()
            elif action == "push":
                self.starts[task_id], self.unbegun[task_id] = starts, unbegun
            self._counted[task_id] = min(self._counted[task_id], self._attempts()[task_id])

    # ------------------------------------------------------------------ what savers and worker tell

    def _began(self, item: tuple[Any, ...]) -> None:
        tag = item[3].get("extra_pnginfo", {}).get("wfrecovery")
        graph = item[2]["1"]["inputs"]["color"]
        task_id = tag["task_id"] if tag else ""
        self.runs.append(Run(item[1], task_id, graph, self._shape(graph)))
        self.starts[task_id] += 1
        if not tag:
            self.wrongs.append(f"the prompt {item[1]} runs unrecorded")
        elif (stage := self.records()[task_id]["metadata"]["stage"]) != "running":
            self.wrongs.append(f"{task_id} begins, and its record says {stage}")
        if task_id in self.known:
            self.wrongs.append(f"{task_id} is rendered again, though its whole result was there and known to be whole")
        if self.starts[task_id] > 3:
            self.wrongs.append(f"{task_id} is started for the {self.starts[task_id]}th time, and nobody asked for it")

    def _shape(self, graph: int) -> Shape:
        return next(post.shape for post in self.posts if post.graph == graph)

    def _file(self, prompt_id: str, node: str, sketch: Sketch, name: str, counts: bool) -> int:
        run = self.runs[-1]
        assert (run.prompt_id, run.graph) == (prompt_id, sketch.graph)
        file = File(len(self.files) + 1, run, node, sketch.index, counts)
        self.files.append(file)
        run.files.append(file)
        return file.number

    def _put(self, path: Path, content: bytes) -> None:
        life, file = self.life, self.files[-1]
        assert life is not None
        life.check()
        if path in self.lying:
            self.lying[path].touched = True
        self.lying[path] = self.contents[hashlib.sha256(content).hexdigest()] = file
        path.write_bytes(content[: len(content) // 2] if self._cut else content)
        # Renders are seconds apart; here they would share a tick of the disk's clock.
        self._written_at = max(self._written_at + 1_000_000, time.time_ns())
        os.utime(path, ns=(self._written_at, self._written_at))
        if self._cut:
            life.die()
        file.whole = True

    def _fails(self, prompt_id: str) -> bool:
        moody = prompt_id not in self.moods
        self.moods.add(prompt_id)
        self.runs[-1].failed = moody
        return moody

    # ------------------------------------------------------------------ what is there

    def records(self) -> dict[str, dict[str, Any]]:
        """Every record on disk, by its id; raises where one is no JSON."""
        found: dict[str, dict[str, Any]] = {}
        table = self.output / "wfrecovery"
        for path in [*table.glob("active/*.json"), *table.glob("done/*/*.json")]:
            found[path.stem] = json.loads(path.read_bytes())
        return found

    def number_at(self, name: str) -> int | None:
        """Which rendering lies there."""
        with contextlib.suppress(OSError):
            return number_of((self.output / name).read_bytes())
        return None

    def _attempts(self) -> Counter[str]:
        return Counter({task_id: record["metadata"]["attempts"] for task_id, record in self.records().items()})

    def _open(self) -> set[str]:
        return {
            task_id
            for task_id, record in self.records().items()
            if record["metadata"]["stage"] in ("queued", "running")
        }

    def _last_runs(self) -> dict[str, Run]:
        return {run.task_id: run for run in self.runs}

    def tasks_of(self, run: Callable[[Run], bool]) -> dict[str, list[Run]]:
        found = defaultdict(list)
        for one in self.runs:
            if run(one):
                found[one.task_id].append(one)
        return found

    # ------------------------------------------------------------------ the end

    def heal(self) -> None:
        """Everything is well again: what can still happen by itself does."""
        self.away(False)
        self.feishu.faults.clear()
        if not self.alive:
            self.start()
        self.lag(False)
        self.work_all()
        for _ in range(MOST_FLUSHES):
            self.flush()
            if not any(record["metadata"]["feishu"]["state"] == "pending" for record in self.records().values()):
                return
            self.wait()


def _row(number: int) -> dict[str, Any]:
    row = {"产品名": f"产品{number}", "模特名": f"模特{number}", "提示词": f"提示{number}", MARK: f"row {number}"}
    return {**row, **dict.fromkeys(STATUS_OF.values(), "否")}


def _tag(row: int, workflow: str) -> dict[str, Any]:
    """The rows stand below the header."""
    names = {"row_number": row + 1, "product_name": f"产品{row}", "model_name": f"模特{row}"}
    return {**names, "workflow_type": workflow, "feishu_row_data": {**names, "prompt": f"提示{row}"}}
