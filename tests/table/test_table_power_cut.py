"""Power cuts, simulated: every disk that could be left after each operation is built, opened and checked.

What is durable: a file's data after `fsync` of the file, else none, all, half or zeros of it; names (create, rename,
unlink, new folders) after `fsync` of their folder, else any first part of what is pending (ordered metadata, as ext4
journals it) or any subset (strict POSIX). A rename between folders is one step, durable when both folders are synced.
Last come mutants of the file module: a checker that passes one of them checks nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from table_support import GRAPH, MONTH, add_attempt, finish, job, job_id, table_files, temp_files

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import AtomicFiles, Disk
from wfrecovery.bridge.table.names import UnknownTaskError
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import SCHEMA, Stage, TaskError, TaskRecord

Call = Callable[[WorkflowDatabase], object]


@dataclass
class File:
    """One file's content (an inode): what the medium has for certain, and what was written."""

    durable: bytes = b""
    current: bytes = b""

    def after_a_cut(self) -> set[bytes]:
        if self.durable == self.current:
            return {self.current}
        half = self.current[: len(self.current) // 2]
        return {self.durable, self.current, half, bytes(len(self.current))}


@dataclass
class Step:
    """One change of names: `make`, `name`, `rename` or `unlink`."""

    what: str
    path: Path
    source: Path | None = None
    file: int = -1
    #: what still has to be synced before the step is durable
    unsynced: set[Path] = field(default_factory=set)


class RecordingDisk(Disk):
    """Does everything, and yields after each operation what the medium knows; fsync itself is only noted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[File] = []
        self.at: dict[Path, int] = {}
        self.base_folders = {root, *(path for path in root.rglob("*") if path.is_dir())}
        for path in root.rglob("*"):
            if path.is_file():
                self.at[path] = self._new(File(path.read_bytes(), path.read_bytes()))
        self.base = dict(self.at)
        self.steps: list[Step] = []
        self.open: dict[int, int] = {}
        #: per operation: the steps so far with what is unsynced of each, and the files' contents
        self.cuts: list[tuple[list[Step], list[File]]] = []
        self._note()

    def _new(self, file: File) -> int:
        self.files.append(file)
        return len(self.files) - 1

    def _note(self) -> None:
        steps = [Step(step.what, step.path, step.source, step.file, set(step.unsynced)) for step in self.steps]
        self.cuts.append((steps, [File(file.durable, file.current) for file in self.files]))

    def make_folder(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        super().make_folder(folder)
        for path in reversed(missing):
            self.steps.append(Step("make", path, unsynced={path.parent}))
            self._note()

    def open_temp(self, target: Path) -> tuple[int, Path]:
        descriptor, temp = super().open_temp(target)
        self._created(temp, descriptor)
        return descriptor, temp

    def _created(self, path: Path, descriptor: int | None = None) -> None:
        number = self.at[path] = self._new(File())
        if descriptor is not None:
            self.open[descriptor] = number
        self.steps.append(Step("name", path, file=number, unsynced={path.parent}))
        self._note()

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        written = super().write(descriptor, data)
        file = self.files[self.open[descriptor]]
        file.current += bytes(data[:written])
        self._note()
        return written

    def sync(self, descriptor: int) -> None:
        file = self.files[self.open[descriptor]]
        file.durable = file.current
        self._note()

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        number = self.at[target] = self.at.pop(source)
        self.steps.append(Step("rename", target, source, number, {source.parent, target.parent}))
        self._note()

    def unlink(self, path: Path) -> None:
        if path.exists():
            self.at.pop(path)
            self.steps.append(Step("unlink", path, unsynced={path.parent}))
        super().unlink(path)
        self._note()

    def create(self, path: Path) -> None:
        super().create(path)
        self._created(path)

    def sync_folder(self, folder: Path) -> None:
        for step in self.steps:
            step.unsynced.discard(folder)
        self._note()


Image = tuple[frozenset[Path], frozenset[tuple[Path, bytes]]]


def names_after_a_cut(disk: RecordingDisk, steps: list[Step], kept: set[int]) -> tuple[set[Path], dict[Path, int]]:
    """Folders, and which file has which name, when of the pending steps those in `kept` reached the medium."""
    folders, names = set(disk.base_folders), dict(disk.base)
    for number, step in enumerate(steps):
        if step.unsynced and number not in kept:
            continue
        if step.path.parent not in folders:  # whatever went into a folder whose own name is lost went with it
            if step.source is not None and names.get(step.source) == step.file:
                del names[step.source]
        elif step.what == "make":
            folders.add(step.path)
        elif step.what == "name":
            names[step.path] = step.file
        elif step.what == "unlink":
            names.pop(step.path, None)
        elif names.get(step.source) == step.file:  # type: ignore[arg-type]
            names[step.path] = names.pop(step.source)  # type: ignore[arg-type]
    return folders, names


def disks_after_a_cut(disk: RecordingDisk, steps: list[Step], files: list[File]) -> Iterator[Image]:
    pending = [number for number, step in enumerate(steps) if step.unsynced]
    # Subsets contain the prefixes; a long pending row is cut to prefixes and single gaps.
    choices: set[tuple[int, ...]] = {tuple(pending[:length]) for length in range(len(pending) + 1)}
    if len(pending) <= 6:
        choices |= {kept for size in range(len(pending)) for kept in itertools.combinations(pending, size)}
    else:
        choices |= {tuple(other for other in pending if other != gap) for gap in pending}
    for kept in choices:
        folders, names = names_after_a_cut(disk, steps, set(kept))
        paths = sorted(names)
        for contents in itertools.product(*(sorted(files[names[path]].after_a_cut()) for path in paths)):
            yield frozenset(folders), frozenset(zip(paths, contents, strict=True))


class QuickDisk(Disk):
    """For looking at the many crash disks: nobody pulls the plug on those, except once more by this simulator."""

    def sync(self, descriptor: int) -> None: ...

    def sync_folder(self, folder: Path) -> None: ...


def content(record: TaskRecord | None) -> Any:
    if record is None:
        return None
    data = record_to_json(record)
    data["updated_at"] = data["created_at"] = ""
    for name in ("rebuilt_at", "story"):
        data["metadata"].pop(name, None)
    return data


def with_more(record: TaskRecord, **more: Any) -> TaskRecord:
    return dataclasses.replace(record, more={**record.more, **more})


def look(table: WorkflowDatabase, number: int) -> Any:
    try:
        return content(table.get(job_id(number)))
    except UnknownTaskError:
        return None


@dataclass
class Story:
    """A table, a call on it, and which task the call is about."""

    call: Call
    subject: int
    prepare: Callable[[WorkflowDatabase], object] = lambda table: None
    #: a task that has to be there, whichever way the call ended
    must_exist: bool = True


def orderly(table: WorkflowDatabase) -> None:
    for number in (1, 2, 3, 5):
        table.create(job(number), GRAPH)
    table.update(job_id(3), finish)
    table.update(job_id(5), fail)


def fail(record: TaskRecord) -> TaskRecord:
    return record.entering(Stage.FAILED, error_message="x")


def disorderly(table: WorkflowDatabase) -> None:
    orderly(table)
    shutil.copy(table.folder / "done" / MONTH / f"{job_id(3)}.json", table.folder / "active")
    (table.folder / "done" / MONTH / f"{job_id(5)}.json").rename(table.folder / "active" / f"{job_id(5)}.json")
    (table.folder / "active" / ".x.json.1-0.tmp").write_bytes(b"{")
    (table.folder / "graphs" / f"{job_id(9)}.json").write_bytes(b"{}")


def damaged(table: WorkflowDatabase) -> None:
    orderly(table)
    path = table.folder / "active" / f"{job_id(1)}.json"
    path.write_bytes(path.read_bytes()[:80])


STORIES = {
    "first create": Story(lambda table: table.create(job(4), GRAPH), 4, must_exist=False),
    "create": Story(lambda table: table.create(job(4), GRAPH), 4, orderly, must_exist=False),
    "claim and create": Story(lambda table: (table.claim_id(None), table.create(job(4), GRAPH)), 4, orderly, False),
    "update": Story(lambda table: table.update(job_id(1), add_attempt), 1, orderly),
    "finish": Story(lambda table: table.update(job_id(1), finish), 1, orderly),
    "retry": Story(lambda table: table.update(job_id(5), lambda record: record.entering(Stage.QUEUED)), 5, orderly),
    "change what is done": Story(lambda table: table.update(job_id(3), lambda r: with_more(r, x=1)), 3, orderly),
    "sweep": Story(lambda table: table.sweep(), 5, disorderly),
    "quarantine": Story(lambda table: list(table.active()), 1, damaged),
}


class Checker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.states = 0

    def broken(
        self,
        story: Story,
        disk_class: type[RecordingDisk] = RecordingDisk,
        table_class: type[WorkflowDatabase] = WorkflowDatabase,
        files_class: type[AtomicFiles] = AtomicFiles,
    ) -> list[str]:
        """What is wrong with the disks that a power cut during the story could leave."""
        work = self.folder / "work"
        work.mkdir(parents=True)
        story.prepare(WorkflowDatabase(work, disk=QuickDisk()))
        (work / "wfrecovery" / "table.lock").unlink(missing_ok=True)
        before = self._records(work)
        disk = disk_class(work)
        table = table_class(work, disk=disk)
        table.files.atomic = files_class(disk)
        story.call(table)
        after = self._records(work)
        return [
            f"cut {number} of {len(disk.cuts) - 1}: {problem}"
            for number, image in self._images(disk)
            for problem in self._problems(image, story, before, after, acknowledged=number == len(disk.cuts) - 1)
        ]

    def _records(self, work: Path) -> dict[int, Any]:
        """As an undisturbed restart would find them, seen on a copy."""
        copy = self.folder / "copy"
        shutil.copytree(work, copy)
        table = WorkflowDatabase(copy, disk=QuickDisk())
        table.sweep()
        list(table.active())
        records = {number: look(table, number) for number in (1, 2, 3, 4, 5)}
        shutil.rmtree(copy)
        return records

    def _images(self, disk: RecordingDisk) -> Iterator[tuple[int, Image]]:
        seen: set[tuple[bool, Image]] = set()
        for number, (steps, files) in enumerate(disk.cuts):
            last = number == len(disk.cuts) - 1
            for image in disks_after_a_cut(disk, steps, files):
                if (last, image) not in seen:
                    seen.add((last, image))
                    yield number, image

    def _problems(
        self, image: Image, story: Story, before: dict[int, Any], after: dict[int, Any], *, acknowledged: bool
    ) -> Iterator[str]:
        self.states += 1
        left = self.folder / "left"
        for folder in image[0]:
            (left / folder.relative_to(self.folder / "work")).mkdir(parents=True, exist_ok=True)
        for path, data in image[1]:
            (left / path.relative_to(self.folder / "work")).write_bytes(data)
        try:
            yield from self._problems_of(left, story, before, after, acknowledged=acknowledged)
        except (TaskError, OSError, ValueError) as error:
            yield f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(left)

    def _problems_of(
        self, left: Path, story: Story, before: dict[int, Any], after: dict[int, Any], *, acknowledged: bool
    ) -> Iterator[str]:
        table = WorkflowDatabase(left, disk=QuickDisk(), lock_timeout=0)
        table.sweep()
        list(table.active())
        for number in before.keys() - {story.subject}:
            if look(table, number) != before[number]:
                yield f"task {number} is now {look(table, number)}"
        found = look(table, story.subject)
        if found not in (before[story.subject], after[story.subject]):
            yield f"neither old nor new: {found}"
        if acknowledged and found != after[story.subject]:
            yield f"acknowledged and lost, left is {found}"
        if story.must_exist and found is None:
            yield "the task is gone"
        if temp_files(left):
            yield "a temp file stays"
        for task_id in table.ids():
            if table.graph(task_id) != {"schema": SCHEMA, **GRAPH}:
                yield f"{task_id} has no graph"
            if (table.folder / "active" / f"{task_id}.json").exists() == table.get(task_id).settled:
                yield f"{task_id} lies in the wrong folder"
        yield from self._one_more_update(left, story, found)

    def _one_more_update(self, left: Path, story: Story, found: Any) -> Iterator[str]:
        """P2: what is written after the restart is there after the next one."""
        if found is None:
            WorkflowDatabase(left, disk=QuickDisk()).create(job(story.subject), GRAPH)
        updated = WorkflowDatabase(left, disk=QuickDisk()).update(
            job_id(story.subject), lambda record: with_more(record, once_more=True)
        )
        again = WorkflowDatabase(left, disk=QuickDisk())
        again.sweep()
        if again.get(job_id(story.subject)) != updated:
            yield "the next update was lost"
        if any(not name.startswith(job_id(story.subject)) for name in again.corrupt()):
            yield f"damaged: {again.corrupt()}"


@pytest.fixture
def checker(tmp_path: Path) -> Checker:
    return Checker(tmp_path / "cuts")


@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_leaves_the_old_or_the_new_and_never_loses_what_was_acknowledged(
    name: str, checker: Checker
) -> None:
    """P1 and P2."""
    assert checker.broken(STORIES[name]) == []
    assert checker.states >= 4, "the simulator saw the story"


# ------------------------------------------------------------------ P3: mutants that have to be caught


class NoFileSync(RecordingDisk):
    def sync(self, descriptor: int) -> None:
        self._note()


class NoFolderSync(RecordingDisk):
    def sync_folder(self, folder: Path) -> None:
        self._note()


class NoSync(NoFileSync, NoFolderSync):
    pass


class InPlace(RecordingDisk):
    """Writes into the record itself."""

    def open_temp(self, target: Path) -> tuple[int, Path]:
        if target not in self.at:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT, 0o644)
            self._created(target, descriptor)
        else:
            descriptor = os.open(target, os.O_WRONLY | os.O_TRUNC)
            self.open[descriptor] = self.at[target]
            self.files[self.at[target]].current = b""
            self._note()
        return descriptor, target

    def replace(self, source: Path, target: Path) -> None:
        if source != target:
            super().replace(source, target)


class UnlinksFirst(RecordingDisk):
    """Makes room for the new file, as `os.rename` wants it on Windows."""

    def replace(self, source: Path, target: Path) -> None:
        self.unlink(target)
        super().replace(source, target)


class MovesByCopy(AtomicFiles):
    """Removes the old name before the new one is there."""

    def move(self, source: Path, target: Path) -> None:
        data = self.disk.read(source)
        self.make_folder(target.parent)
        self.disk.unlink(source)
        self.sync_folder(source.parent)
        self.write(target, data)


class SyncsAfterTheRename(AtomicFiles):
    def write(self, target: Path, data: bytes) -> None:
        descriptor, temp = self.disk.open_temp(target)
        self._write_all(descriptor, data)
        self.disk.replace(temp, target)
        self.disk.sync(descriptor)
        self.disk.close(descriptor)
        self.sync_folder(target.parent)


class NewFoldersUnsynced(AtomicFiles):
    def make_folder(self, folder: Path) -> None:
        self.disk.make_folder(folder)


class RecordBeforeGraph(WorkflowDatabase):
    def create(self, record: TaskRecord, graph: Any = None) -> TaskRecord:
        created = super().create(record)
        self.write_graph(record.task_id, graph)
        return created


class DropsBeforeItRebuilds(WorkflowDatabase):
    def __init__(self, output_dir: Path, **options: Any) -> None:
        super().__init__(output_dir, **options)
        set_aside = self._mending._set_aside
        self._mending._set_aside = lambda path, reason, **_: set_aside(path, reason, keep=False)


@pytest.mark.parametrize(
    ("mutant", "story"),
    [
        (NoFileSync, "update"),
        (NoFileSync, "create"),
        (NoFolderSync, "update"),
        (NoFolderSync, "create"),
        (NoSync, "update"),
        (NoSync, "finish"),
        (InPlace, "update"),
        (InPlace, "finish"),
        (UnlinksFirst, "update"),
        (MovesByCopy, "finish"),
        (MovesByCopy, "retry"),
        (SyncsAfterTheRename, "update"),
        (NewFoldersUnsynced, "first create"),
        (NewFoldersUnsynced, "finish"),
        (RecordBeforeGraph, "create"),
        (DropsBeforeItRebuilds, "quarantine"),
    ],
)
def test_the_checker_catches_a_table_that_is_wrong(mutant: type, story: str, checker: Checker) -> None:
    kind = {RecordingDisk: "disk_class", AtomicFiles: "files_class", WorkflowDatabase: "table_class"}
    (argument,) = (name for base, name in kind.items() if issubclass(mutant, base))
    chosen = STORIES[story]
    if mutant is NewFoldersUnsynced and story == "finish":  # the first task of a month
        chosen = Story(chosen.call, 1, lambda table: table.create(job(1), GRAPH))
    assert checker.broken(chosen, **{argument: mutant}) != []


def test_the_simulator_knows_every_operation_that_changes_the_disk(tmp_path: Path) -> None:
    """What it believes is on the disk in the end is what is there."""
    for number, story in enumerate(STORIES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        story.prepare(WorkflowDatabase(folder, disk=QuickDisk()))
        (folder / "wfrecovery" / "table.lock").unlink(missing_ok=True)
        disk = RecordingDisk(folder)
        story.call(WorkflowDatabase(folder, disk=disk))
        believed = {
            path.relative_to(folder / "wfrecovery").as_posix(): disk.files[file].current
            for path, file in disk.at.items()
        }
        assert believed == table_files(folder)
