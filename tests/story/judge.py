"""What must be true of a world at any time, and at its end; told by the marks, never by what the product recorded."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from marks import number_of
from savers import IMAGE, SAVERS
from world import MARK, PICTURE, STATUS_OF, File, Run, World

from wfrecovery.demo.feishu_host.stand_in import Picture

Record = dict[str, Any]


class Judge:
    """Looks at one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._judged: dict[str, int] = {}

    # ------------------------------------------------------------------ at any time

    def always(self) -> None:
        world = self._world
        assert not world.wrongs, world.wrongs
        records = self._read()
        self._accepted(records)
        for record in records.values():
            if record["status"] == "已完成":
                self._finished(record)
        self._sheet(records)

    def started(self) -> None:
        """ComfyUI is up, and its recovery is over."""
        # A beat that was cut off is removed when its owner is known to be dead.
        litter = [path.name for path in self._world.output.rglob("*.tmp") if path.parent.name != "owners"]
        assert not litter, litter

    def _read(self) -> dict[str, Record]:
        """Every file of the table is whole, and none had to be set aside."""
        world = self._world
        table = world.output / "wfrecovery"
        for path in table.rglob("*.json"):
            json.loads(path.read_bytes())
        assert not (table / "corrupt").exists(), [path.name for path in (table / "corrupt").iterdir()]
        return world.records()

    def _accepted(self, records: dict[str, Record]) -> None:
        """A task for each prompt that was answered, and none besides."""
        posts, answered = Counter(), Counter()
        for post in self._world.posts:
            posts[post.prompt_id] += 1
            answered[post.prompt_id] += post.answered
        recorded = Counter(record["comfyui_task_id"] for record in records.values())
        for prompt_id, number in posts.items():
            assert answered[prompt_id] <= recorded[prompt_id] <= number, (prompt_id, number, recorded)
        assert recorded.keys() <= posts.keys()

    def _finished(self, record: Record) -> None:
        """已完成: all files of one run of the task's own graph, and nothing else."""
        task_id = record["task_id"]
        if self._judged.get(task_id) == record["revision"]:
            return
        self._judged[task_id] = record["revision"]
        runs = [run for run in self._world.runs if run.task_id == task_id]
        assert runs, f"{task_id} has never run"
        files = self._files(record)
        if not files:  # what nobody has named was taken away before anybody knew of it
            silent = not any(SAVERS[name].SURELY for name in runs[-1].shape.savers)
            excused = record["row_number"] is None and silent and self._touched(runs)
            assert excused, f"{task_id} is finished with nothing"
            return
        told = f"{task_id} ({runs[-1].shape}) is finished with {[_told(file) for file in files]}"
        assert {file.run.graph for file in files} == {runs[-1].graph}, f"another graph's: {told}"
        assert all(file.whole for file in files), f"a part of a file: {told}"
        for node in runs[-1].savers:
            there: dict[Run, set[int]] = defaultdict(set)
            for file in files:
                if file.node == node:
                    there[file.run] |= {file.index} if file.counts else set()
            assert len(there) < 2, f"of {len(there)} runs: {told}"
            run, indexes = next(iter(there.items()), (runs[-1], set()))
            gone = {file.index for file in self._sources(run) if file.node == node and file.touched}
            assert len(indexes | gone) == run.shape.batch, f"a part of the result: {told}"
            assert run in runs or any(node in own.cached for own in runs), f"another task's: {told}"
        if not any(run.cached for run in runs):
            assert len({file.run for file in files}) == 1, f"mixed: {told}"

    def _files(self, record: Record) -> list[File]:
        """The files of a result, by their content."""
        found = []
        for result in record["metadata"].get("results", []):
            if result.get("sha256"):
                file = self._world.contents.get(result["sha256"])
                assert file is not None, f"{result['path']} is nobody's: {record['task_id']}"
                found.append(file)
            elif (number := self._world.number_at(result["path"])) is not None:
                found.append(self._world.files[number - 1])
        return found

    def _sheet(self, records: dict[str, Record]) -> None:
        sheet = self._world.feishu.sheet
        for number in range(2, sheet.last_row + 1):
            row = sheet.row(number)
            mark = int(str(row[MARK]).removeprefix("row "))
            if isinstance(row[PICTURE], Picture):
                self._picture(mark, number_of(row[PICTURE].data))
            for workflow, title in STATUS_OF.items():
                if row[title] == "已完成":
                    done = any(run.whole or run.cached for run in self._runs_of(mark, workflow))
                    assert done, f"row {mark}: {title} says 已完成, and nothing whole was ever made for it"
        self._once(records)

    def _picture(self, mark: int, number: int | None) -> None:
        assert number is not None, f"row {mark} shows a picture that is none"
        file = self._world.files[number - 1]
        graphs = {run.graph for run in self._runs_of(mark, IMAGE)}
        assert file.run.graph in graphs, f"row {mark} shows another row's picture: {_told(file)}"
        assert file.run.whole, f"row {mark} shows a part of a result: {_told(file)}"
        saver = SAVERS[file.run.savers[file.node]]
        assert (file.counts, saver.PICTURES) == (True, True), f"row {mark} shows another file: {_told(file)}"
        if saver.SURELY or not file.run.touched:  # of what nobody has named, nobody knows that a file is gone
            assert file.index == file.run.shape.batch - 1, f"row {mark} shows another file: {_told(file)}"

    def _runs_of(self, mark: int, workflow: str) -> list[Run]:
        """The runs of graphs that were sent for a row."""
        posts = [post for post in self._world.posts if post.row == mark and post.shape.workflow == workflow]
        return [run for run in self._world.runs if run.graph in {post.graph for post in posts}]

    def _once(self, records: dict[str, Record]) -> None:
        """Each picture goes into its cell once for each task that it is the result of."""
        world = self._world
        writes = Counter((write.row_texts[MARK], number_of(write.data)) for write in world.feishu.sheet.picture_writes)
        for (mark, number), times in writes.items():
            if times == 1 or number is None:
                continue
            row = int(mark.removeprefix("row "))
            tasks = [record for record in records.values() if record["row_number"] == row + 1]
            allowed = sum(world.asked[record["task_id"]] for record in tasks)
            allowed += sum(number in {file.number for file in self._files(record)} for record in tasks)
            assert times <= max(1, allowed), f"row {row}: one picture was written {times} times"

    # ------------------------------------------------------------------ at the end

    def healed(self) -> None:
        """Everything is well, and nothing is left to do: the worker is idle, the outbox empty."""
        self.always()
        self.started()
        records = self._read()
        for record in records.values():
            self._settled(record)
        self._shown(records)
        strangers = [path for path in self._world.base.iterdir() if path.name not in ("output", "desk", "user", "temp")]
        strangers += [*(self._world.base / "user").iterdir(), *(self._world.base / "temp").iterdir()]
        assert not strangers, strangers

    def _settled(self, record: Record) -> None:
        task_id, metadata = record["task_id"], record["metadata"]
        stage, feishu = metadata["stage"], metadata["feishu"]
        runs = [run for run in self._world.runs if run.task_id == task_id]
        told = f"{task_id} {stage}/{feishu['state']}: {record['error_message']} {feishu['last_error']}"
        assert stage in ("finished", "failed", "asking"), f"the queue is empty: {told}"
        if stage == "asking":
            assert record["row_number"] is None, told
            return
        touched = self._touched(runs)
        if stage == "failed":
            assert record["error_message"], told
            counted = self._world.starts[task_id] + self._world.unbegun[task_id]
            excused = counted >= 3 or touched or (runs and runs[-1].failed)
            assert excused, f"without need: {told}"
        assert feishu["state"] != "pending", f"the outbox is not empty: {told}"
        if feishu["state"] == "blocked":
            assert feishu["last_error"], told
            assert touched, f"without need: {told}"
        if feishu["state"] == "off" and record["row_number"] is not None:
            assert feishu.get("superseded_by"), told

    def _touched(self, runs: list[Run]) -> bool:
        return any(file.touched for run in runs for file in self._sources(run))

    def _sources(self, run: Run) -> list[File]:
        """Its files, and those that ComfyUI's cache may have named in their place."""
        others = self._world.runs if run.cached else [run]
        return [file for other in others if other.graph == run.graph for file in other.files]

    def _shown(self, records: dict[str, Record]) -> None:
        """What was pushed last for a row is what it shows."""
        sheet = self._world.feishu.sheet
        rows = {
            int(str(sheet.row(number)[MARK]).removeprefix("row ")): sheet.row(number)
            for number in range(2, sheet.last_row + 1)
        }
        pushed: dict[tuple[int, str], list[Record]] = defaultdict(list)
        for record in records.values():
            if record["metadata"]["stage"] == "finished" and record["metadata"]["feishu"]["state"] == "pushed":
                pushed[record["row_number"] - 1, record["workflow_type"]].append(record)
        for (mark, workflow), done in pushed.items():
            assert rows[mark][STATUS_OF[workflow]] == "已完成", f"row {mark}: {rows[mark]}"
            if workflow == IMAGE:
                newest = max(done, key=lambda record: (record["metadata"]["finished_at"], record["task_id"]))
                shown = rows[mark][PICTURE]
                assert isinstance(shown, Picture), f"row {mark} shows no picture"
                numbers = {file.number for file in self._files(newest)}
                assert number_of(shown.data) in numbers, f"row {mark} shows an older result than {newest['task_id']}"


def _told(file: File) -> str:
    return f"file {file.index + 1} of {file.run.shape.batch} of node {file.node} of {file.run.task_id}"
