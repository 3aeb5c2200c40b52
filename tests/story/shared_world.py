"""A table that several work in: two ComfyUIs, two runs of `main.py` (one of them with a table of its own, as on another
machine), the command line, programs of other versions; and the people who cancel, stop, kill, take over and delete.

Which rendering began when is told by the worker that began it and by the node that wrote it. The product is asked for
nothing but its records, and those only at the end.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import versions
from command_line import CommandLine
from life import Life
from main_program import Line, MainProgram
from place import MEMORY, in_the_place_of_comfyui
from process import Computer, Killed, Process
from savers import Shape, Sketch, Studio
from table_support import Steps

COMFYS = ("A", "B")
#: Programs beside them, each with the ComfyUI that it sends to; `far` has a table of its own.
MAINS = {"one": "A", "two": "B", "far": "A"}
#: Rows of the sheet, by who works on them; one that shares the table may enter the same as the other.
ROWS = {"one": (1, 2, 3), "two": (2, 3, 4), "far": (5, 6)}
#: How a row is rendered: in a moment; or by a node that hears no interrupt; or so that ComfyUI goes down.
SHAPES = {"one": Shape(("SaveImage",)), "slow": Shape(("SaveImage",), before="Think")}
DEADLY = Shape(("SaveImage",), before="Deadly")
SHAPE_OF = {1: "one", 2: "slow", 3: "slow", 4: "one", 5: "slow", 6: "one"}
#: Seconds between two beats.
BEAT = 5.0
#: Beats until all is done: where no lock tells who is dead, each death takes eighteen of them to be seen.
MOST_ROUNDS = 240
MOST_TURNS = 100


@dataclass(eq=False)
class Start:
    """One time that a ComfyUI began to run a prompt."""

    graph: int
    task_id: str
    comfy: Life
    #: the token by which others know that ComfyUI
    boot: str
    whole: bool = False
    over: bool = False


@dataclass
class Row:
    """What is known of one graph, since a person last asked for it."""

    whole: bool = False
    #: somebody may have taken it for nobody's while it ran: its files were gone, or only the beat could tell
    doubtful: bool = False


@dataclass
class Marks:
    """What has happened, told by those to whom it happened."""

    starts: list[Start] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    #: how often ComfyUI went down while a task ran
    crashes: Counter[str] = field(default_factory=Counter)
    #: ComfyUIs that went down before they began anything: the first prompt of a life is counted as it is put
    unbegun: int = 0
    #: of which tasks somebody wanted the end; and was answered
    wished: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    #: folders were deleted so often
    deleted: int = 0
    #: of which tasks starts were counted before the story
    before: Counter[str] = field(default_factory=Counter)
    #: ComfyUIs in whose place somebody has taken over, alive or not: what they render may be rendered twice
    replaced: set[str] = field(default_factory=set)
    #: the disk refused so often: a prompt that came then has no id for its files to carry, and is recorded later
    refused: int = 0
    #: no lock tells who lives, or not each does: who is stopped for long counts as dead
    beat_alone: bool = False
    wrongs: list[str] = field(default_factory=list)

    def row(self, graph: int) -> Row:
        return self.rows.setdefault(graph, Row())


class SharedWorld:
    """What can happen is done by plain methods."""

    def __init__(self, *, six: bool = True, locks: bool = True) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="wfrecovery-shared-", dir=MEMORY))
        self.output, self.far = self.base / "output", self.base / "far"
        for folder in (self.output, self.far, self.base / "user", self.base / "temp"):
            folder.mkdir()
        self.computer = Computer(locks=locks)
        self.marks = Marks(beat_alone=not locks)
        self.comfys: dict[str, Life | None] = dict.fromkeys(COMFYS)
        self.mains: dict[str, MainProgram | None] = dict.fromkeys(MAINS)
        self.commands: list[CommandLine] = []
        self.shapes: dict[int, Shape] = {number: SHAPES[name] for number, name in SHAPE_OF.items()}
        #: what a newer program has written: it stays as it is
        self.newest: dict[Path, bytes] = {}
        self._now: Life | None = None
        self._beat_at = 0.0
        self._kills_at_file = False
        self._undo = contextlib.ExitStack()
        environment = {"WFRECOVERY_LOST_PROMPTS": "auto", "WFRECOVERY_OUTPUT": str(self.output)}
        studio = Studio(self._file, self._put, lambda _: False, self._kills)
        in_the_place_of_comfyui(self._undo, self.base, six, environment, studio)

    def close(self) -> None:
        """End the story."""
        for process in self.processes():
            process.bury()
        self._undo.close()
        shutil.rmtree(self.base)

    def processes(self) -> list[Process]:
        """All that are there, also the stopped ones."""
        all_of_them = (*self.comfys.values(), *self.mains.values(), *self.commands)
        return [process for process in all_of_them if process is not None]

    # ------------------------------------------------------------------ who goes on

    @contextlib.contextmanager
    def mortal(self, process: Process, dies: int | None = None) -> Iterator[None]:
        """What is done in here may end in death; `dies`: at this operation of the disk."""
        if dies is not None:
            process.watch = Steps(dies, process.die)
        try:
            yield
        except Killed:
            pass
        finally:
            if dies is not None:
                process.watch = None
            if process.dead:
                self._bury(process)

    def breathe(self, passes: int = 1) -> bool:
        """Everybody goes on for so many passes of his loop; whether somebody has more to do."""
        for _ in range(passes):
            for process in self._ready():
                with self.mortal(process):
                    process.go_on(1)
                    self._answered(process)
            if not self._ready():  # one may have handed something to another who had his turn
                return False
        return True

    def _ready(self) -> list[Process]:
        return [process for process in self.processes() if not process.stopped and not process.loop.idle]

    def rest(self) -> None:
        """Everybody goes on until he waits for time, or for somebody who is stopped."""
        for _ in range(3000):
            if not self.breathe():
                return
        raise AssertionError("they do not come to rest")

    def work(self, name: str, turns: int = 1) -> None:
        """A ComfyUI's worker goes on."""
        for _ in range(turns):
            life = self.comfys[name]
            if life is None or life.stopped:
                return
            self._now = life
            with self.mortal(life):
                if not life.worker.turn():
                    return
            for start in self.running(life):
                start.over |= not life.dead and life.worker.idle
            self._now = None

    def wait(self, seconds: float) -> None:
        """Time goes by, with everybody's beats; others may look between two of them."""
        while seconds > 0:
            passed = min(seconds, BEAT / 2)
            self.computer.passed(passed)
            seconds -= passed
            self.breathe(20)
            if self.computer.now - self._beat_at >= BEAT:
                self._beat_at = self.computer.now
                self._beats()

    def _beats(self) -> None:
        for process in self.processes():
            if not process.stopped:
                with self.mortal(process):
                    process.beat()
            elif isinstance(process, Life) and self.marks.beat_alone:
                for start in self.running(process):
                    self.marks.row(start.graph).doubtful = True

    # ------------------------------------------------------------------ life and death

    def start(self, name: str, *, dies: int | None = None, late: bool = False) -> None:
        """Start a ComfyUI; its recovery is still to come. `late`: its worker comes when the plugins listen already."""
        life = self.comfys[name] = self._life(late)
        with self.mortal(life, dies):
            life.load()
            if dies is not None:
                life.go_on(200)

    def _life(self, late: bool = False) -> Life:
        lives: list[Life] = []
        lives.append(Life(self.computer, began=lambda item: self._began(lives[0], item), late=late))
        return lives[0]

    def start_by_mistake(self) -> None:
        """A second one on the same port: it loads its plugins, and ends without the port."""
        life = self._life()
        life.server.port = None  # type: ignore[attr-defined]
        life.load()
        for _ in range(10):
            life.step()
        life.bury()

    def begin(self, name: str, *, passes: int = 0, dies: int | None = None) -> None:
        """A program runs its batch: a new process, or the one that is at its menu."""
        main = self.mains[name]
        if main is None:
            table = self.far if name == "far" else self.output
            main = self.mains[name] = MainProgram(self.computer, table, self.graph, hand=name)
        comfy = MAINS[name]
        with self.mortal(main, dies):
            main.begin(Line(comfy, lambda: self.comfys[comfy]), ROWS[name])
            if dies is not None:
                self.breathe(60)
        if passes:
            self.breathe(passes)

    def begin_again(self, name: str) -> None:
        """Unless it is at work."""
        main = self.mains[name]
        if main is None or not main.busy:
            self.begin(name)

    def ctrl_c(self, name: str) -> None:
        """Somebody presses it: the program goes back to its menu."""
        main = self.mains[name]
        if main is not None and not main.stopped:
            with self.mortal(main):
                main.ctrl_c()

    def recover(self, name: str, take_over: str | None = None) -> None:
        """`wfrecovery recover`, which asks this ComfyUI; `take_over`: the token of an owner."""
        if take_over is not None:
            self.marks.replaced.add(take_over)
        command = CommandLine(self.computer, self.output)
        self.commands.append(command)
        with self.mortal(command):
            command.begin(
                Line(name, lambda: self.comfys[name]), [] if take_over is None else ["--take-over", take_over[:8]]
            )

    def _answered(self, process: Process) -> None:
        """A command that has told its answer is gone."""
        if isinstance(process, CommandLine) and not process.busy:
            if process.wrong is not None:
                self.marks.wrongs.append(f"wfrecovery recover: {process.wrong}")
            self._bury(process)

    def owners(self) -> list[str]:
        """Who is at work on something, as a person reads it in `wfrecovery status`."""
        found = (record["metadata"].get("owner") for record in self.records().values())
        return sorted({owner["boot"] for owner in found if owner is not None})

    def power_cut(self) -> None:
        """The computer goes down with all that runs on it, and comes up again: no row is to blame."""
        for process in self.processes():
            self._bury(process, blamed=False)
        self.computer.kernel = f"kernel {int(self.computer.kernel.split()[1]) + 1}"

    def kill(self, process: Process) -> None:
        """SIGKILL, now."""
        self._bury(process)

    def kill_when_whole(self, name: str) -> None:
        """SIGKILL as soon as a file is written, and before anybody says so."""
        self._kills_at_file = True
        self.work(name, MOST_TURNS)
        self._kills_at_file = False

    def end(self, name: str) -> None:
        """An orderly end: what runs is not to blame."""
        life = self.comfys[name]
        if life is None or life.stopped:
            return
        with self.mortal(life):
            with life.on(), contextlib.suppress(OSError):  # logged
                life.plugin._orderly._mark()
            self._bury(life, blamed=False)

    def _bury(self, process: Process, *, blamed: bool = True) -> None:
        names = [(table, name) for table in (self.comfys, self.mains) for name in table if table[name] is process]
        for table, name in names:
            table[name] = None
        self.commands = [command for command in self.commands if command is not process]
        if isinstance(process, Life):
            self.marks.unbegun += process.worker.waits
            for start in self.running(process):
                start.over = True
                self.marks.crashes[start.task_id] += blamed
        if not process.dead or not process.loop.is_closed():
            process.bury()

    # ------------------------------------------------------------------ people

    def graph(self, number: int) -> dict[str, Any]:
        """What renders a row, or a prompt without one."""
        return self.shapes[number].graph(number)

    def post(self, name: str, shape: Shape, *, dies: int | None = None) -> int:
        """Somebody queues a prompt in a page."""
        number = self._new_shape(shape)
        prompt_id = str(uuid.UUID(int=number, version=4))
        life = self._at(name)
        if life is not None:
            with self.mortal(life, dies):
                life.ask("/prompt", {"prompt": self.graph(number), "prompt_id": prompt_id})
        return number

    def _new_shape(self, shape: Shape) -> int:
        number = 100 + len(self.shapes)
        self.shapes[number] = shape
        return number

    def older(self, how: str) -> None:
        """A program of the first version has left a task behind; `how`: in which stage."""
        number = self._new_shape(SHAPES["one"])
        record, graph = versions.older(number, how, self.graph(number))
        self.marks.before[record["task_id"]] = record["metadata"]["attempts"]
        versions.write(self.output, record, graph)

    def newer(self, where: str) -> None:
        """A program of a version to come works in the table; `where`: in `active`, or in `done`."""
        number = self._new_shape(SHAPES["one"])
        record, graph = versions.newer(number, self.graph(number))
        for path in versions.write(self.output, record, graph, where):
            self.newest[path] = path.read_bytes()

    def cancel(self, name: str, how: str, which: int = 0, *, dies: int | None = None) -> None:
        """A person wants an end. What is wished for is known when it is answered."""
        life = self._at(name)
        records = [record for _, record in sorted(self.records().items()) if record["status"] == "在处理中"]
        if life is None or not records or self.computer.full or self.computer.held:
            return
        meant, path, body = _CANCELS[how](self, life, records[which % len(records)])
        self.marks.wished |= meant
        with self.mortal(life, dies):
            status, answer = life.ask(path, body)
            done = meant if status < 400 else set()
            self.marks.cancelled |= done if how != "many" else done & set(answer["done"])
            for number in {start.graph for start in self.marks.starts if start.task_id in meant}:
                self.marks.row(number).whole = False  # the next batch may enter its row anew

    def _at(self, name: str) -> Life | None:
        life = self.comfys[name]
        return None if life is None or life.stopped else life

    def delete(self, what: str) -> None:
        """`rm -rf`, while rows wait and run."""
        table = self.output / "wfrecovery"
        folder, which = {
            "all": (self.output, "*"),
            "table": (table, "*"),
            "owners": (table / "owners", "*"),
            "locks": (table / "owners", "*.lock"),
        }[what]
        for path in folder.glob(which):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if what in ("owners", "locks"):  # the beat tells who lives, and that is moved; or somebody is stopped
            self.marks.beat_alone = True
            return
        self.marks.deleted += 1
        for start in self.marks.starts:
            self.marks.row(start.graph).doubtful = True
        self.marks.crashes.clear()
        self.marks.cancelled.clear()
        self.newest.clear()
        for row in self.marks.rows.values():
            row.whole = False

    def refuse(self, what: str, tries: int) -> None:
        """The disk is `full`, or the table's lock is `held` by a process that is stopped."""
        setattr(self.computer, what, tries)
        self.marks.refused += 1

    # ------------------------------------------------------------------ what nodes and workers tell

    def running(self, life: Life) -> list[Start]:
        """What a ComfyUI runs now."""
        return [start for start in self.marks.starts if start.comfy is life and not start.over]

    def _began(self, life: Life, item: tuple[Any, ...]) -> None:
        tag = item[3].get("extra_pnginfo", {}).get("wfrecovery") or {}
        start = Start(item[2]["1"]["inputs"]["color"], tag.get("task_id", ""), life, life.plugin._db.owners.me.boot)
        row, wrongs = self.marks.row(start.graph), self.marks.wrongs
        same = [other for other in self.marks.starts if other.graph == start.graph]
        row.doubtful |= any(other.boot in self.marks.replaced for other in same)
        for other in same:
            if not other.over and not row.doubtful:
                wrongs.append(f"graph {start.graph} ({start.task_id}) is started while another ComfyUI runs it")
        if start.task_id in self.marks.cancelled:
            wrongs.append(f"{start.task_id} is started after its cancellation was answered")
        if row.whole and not row.doubtful:
            wrongs.append(f"graph {start.graph} ({start.task_id}) is rendered again, though it was whole")
        if start.task_id and self.marks.crashes[start.task_id] >= 3:
            wrongs.append(f"{start.task_id} is started, though it has taken ComfyUI down three times")
        if not start.task_id and not self.marks.refused:
            wrongs.append(f"graph {start.graph} runs unrecorded")
        record = self.records().get(start.task_id)
        if record is not None and record["metadata"]["stage"] != "running" and not self.marks.refused:
            wrongs.append(f"{start.task_id} begins, and its record says {record['metadata']['stage']}")
        row.doubtful |= not start.task_id
        self.marks.starts.append(start)

    def _file(self, prompt_id: str, node: str, sketch: Sketch, name: str, counts: bool) -> int:
        return sketch.graph

    def _put(self, path: Path, content: bytes) -> None:
        assert self._now is not None
        self._now.check()
        path.write_bytes(content)
        for start in self.running(self._now):
            start.whole = self.marks.row(start.graph).whole = True
        if self._kills_at_file:
            self._now.die()

    def _kills(self) -> None:
        assert self._now is not None
        self._now.die()

    # ------------------------------------------------------------------ what is there

    def records(self, output: Path | None = None) -> dict[str, dict[str, Any]]:
        """Every record on disk, by its id."""
        table = (output or self.output) / "wfrecovery"
        paths = [*table.glob("active/*.json"), *table.glob("done/*/*.json")]
        return {path.stem: json.loads(path.read_bytes()) for path in paths if path not in self.newest}

    # ------------------------------------------------------------------ the end

    def heal(self, *, without: str | None = None) -> None:
        """All faults end; who should live lives, and has time."""
        self.computer.full = self.computer.held = 0
        for process in self.processes():
            process.stopped = False
        for name in COMFYS:
            if self.comfys[name] is None and name != without:
                self.start(name)
        self.begin_again("far")  # nobody else looks into its table
        for _ in range(MOST_ROUNDS):
            self.wait(BEAT)
            for name in COMFYS:
                self.work(name, MOST_TURNS)
                if self.comfys[name] is None and name != without:
                    self.start(name)
            unfinished = self.open()
            busy = [*self.commands, *(main for main in self.mains.values() if main is not None and main.busy)]
            if not unfinished and not busy:
                break
            for name in MAINS if unfinished else ():
                self.begin_again(name)
        self.wait(2 * BEAT)

    def open(self) -> list[str]:
        """Tasks that have not come to an end."""
        found = [*self.records().values(), *self.records(self.far).values()]
        return [
            r["task_id"] for r in found if r["metadata"]["stage"] not in ("finished", "failed", "cancelled", "asking")
        ]


#: Which tasks a person means, and what is sent for that.
Wish = tuple[set[str], str, Any]


def _ours(world: SharedWorld, life: Life, record: dict[str, Any]) -> Wish:
    return {record["task_id"]}, f"/wfrecovery/tasks/{record['task_id']}/cancel", {}


def _many(world: SharedWorld, life: Life, record: dict[str, Any]) -> Wish:
    return set(world.records()), "/wfrecovery/tasks/cancel", {"filter": {"status": "在处理中"}}


def _interrupt(world: SharedWorld, life: Life, record: dict[str, Any]) -> Wish:
    """What runs there and was taken over is rendered elsewhere: who interrupts it frees this ComfyUI. It may end by
    that, or not."""
    records = world.records()
    owner = {name: (record["metadata"].get("owner") or {}).get("boot") for name, record in records.items()}
    runs = world.running(life)
    world.marks.wished |= {one.task_id for one in runs}
    return {one.task_id for one in runs if owner.get(one.task_id) == one.boot}, "/interrupt", {}


def _delete(world: SharedWorld, life: Life, record: dict[str, Any]) -> Wish:
    return {record["task_id"]} & _waiting(life), "/queue", {"delete": [record["comfyui_task_id"]]}


def _clear(world: SharedWorld, life: Life, record: dict[str, Any]) -> Wish:
    return _waiting(life), "/queue", {"clear": True}


def _waiting(life: Life) -> set[str]:
    items = life.server.prompt_queue.queue
    return {item[3].get("extra_pnginfo", {}).get("wfrecovery", {}).get("task_id", "") for item in items}


_CANCELS: dict[str, Callable[[SharedWorld, Life, dict[str, Any]], Wish]] = {
    "ours": _ours,
    "many": _many,
    "interrupt": _interrupt,
    "delete": _delete,
    "clear": _clear,
}
CANCELS = tuple(_CANCELS)
