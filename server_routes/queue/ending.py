"""How a prompt ended, as the change of its record: which files it made, whether they are whole, which is delivered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ...bridge.engines.history import INTERRUPTED, Place, Sighting
from ...bridge.inside import inside
from ...bridge.redact import redact, secret_values
from ...bridge.results.choice import Savers, chosen, nothing_saved
from ...bridge.results.contents import HASHED_AT_ONCE, Contents
from ...bridge.results.find import find_results
from ...bridge.results.formats import kind_by_name
from ...bridge.results.reported import outside_reason, resolve
from ...bridge.results.whole import why_not_whole
from ...bridge.table.changes import cancelled, failed, finished
from ...bridge.table.content import stamp_of, stamped
from ...bridge.table.records import TaskRecord, parse_time
from ...bridge.table.values import Result
from ...bridge.wording import Wording

DELETED: Final = Wording("deleted from the queue by the user", "已被用户从队列中删除")
NO_FILE: Final = Wording(
    "ComfyUI says it finished, but it wrote no file into the output folder",
    "ComfyUI 报告已完成，但没有在输出文件夹写出文件",
)

#: A prompt that has just ended: by which the clock of a disk may be behind the computer's.
_CLOCK_SECONDS: Final = 3600.0

Change = Callable[[TaskRecord], TaskRecord]


@dataclass(frozen=True)
class Ended:
    """What a prompt left behind, as it was at its end: stamps are taken before the next prompt can write."""

    sighting: Sighting
    results: tuple[Result, ...] = ()
    #: all that was named inside the output folder, in that order, whatever became of it
    named: tuple[Result, ...] = ()
    #: named, and not there
    missing: tuple[str, ...] = ()
    #: named by an answer from ComfyUI's cache, and another file by now
    replaced: tuple[str, ...] = ()
    #: named, and there before the prompt began: another one's
    shown: tuple[str, ...] = ()
    #: outside the output folder: path → node
    outside: Mapping[str, str | None] = field(default_factory=dict)
    #: of the results: named by a text that may mean something else
    unsure: frozenset[str] = frozenset()
    #: output nodes that ran and named no file
    silent: frozenset[str] = frozenset()
    #: what a node said that blocked others, in its own words
    blocked: str | None = None
    #: every node came from ComfyUI's cache: nothing was written
    from_cache: bool = False


def look(output_dir: Path, sighting: Sighting) -> Ended:
    """Where the files are that a prompt's nodes have named, with their stamps. Reads none of them."""
    reported = resolve(output_dir, sighting.files)
    there = {name: stamped(output_dir, name, node) for name, node in reported.files.items()}
    gone = {name: Result(name, kind_by_name(name), node) for name, node in reported.missing.items()}
    named = tuple({**gone, **there}[name] for name in reported.order)
    missing = tuple(name for name in gone if name not in there)
    return Ended(sighting, tuple(there.values()), named, missing, outside=reported.outside, unsure=reported.unsure)


def unchanged(output_dir: Path, result: Result) -> bool:
    """Whether a file still has the stamp that it had."""
    return result.stamp is not None and stamp_of(inside(output_dir, result.path)) == result.stamp


class Endings:
    """Makes the changes. Reads files: on the writing thread, or another one that may wait."""

    def __init__(self, output_dir: Path, contents: Contents) -> None:
        self._output_dir, self._contents = output_dir, contents

    def change(
        self,
        task: TaskRecord,
        ended: Ended,
        prompt: Mapping[str, Any],
        outputs: Collection[Any],
        secrets: Sequence[str] = (),
    ) -> Change:
        """The change that records how `task` ended. A success counts only with files that are whole.

        The files are read here, before the table is locked for the change.
        """
        place, message = ended.sighting.place, ended.sighting.message
        if place is Place.INTERRUPTED:
            return _unless_final(lambda record: cancelled(record, message or INTERRUPTED))
        hidden = (*secrets, *secret_values(prompt))  # what a key's widget holds is quoted by nodes as well
        if place is not Place.SUCCEEDED:
            error = (message or Wording("failed", "失败")).changed(lambda text: redact(text, hidden))
            return _unless_final(lambda record: failed(record, error))
        savers = Savers.of(prompt, outputs)
        results = self.read(ended.results)
        if not ended.from_cache and self._is_one_missing(task, ended, results, savers):
            named = {result.path for result in results}
            results = (*results, *(result for result in self._on_disk(task, ended) if result.path not in named))
        broken = {result.path: why for result in results if (why := self._why_not_whole(result))}
        whole = tuple(result for result in results if result.path not in broken)
        reason = self._why_failed(task, ended, results, broken, prompt=prompt, savers=savers)
        if reason is not None:
            told = reason.changed(lambda text: redact(text, hidden))
            return _unless_final(lambda record: failed(record, told))
        return self.finishing(task, whole, savers)

    def finishing(self, task: TaskRecord, results: tuple[Result, ...], savers: Savers) -> Change:
        """The change to 已完成 with these files, the one to deliver among them chosen, and kept while it waits; to 失败
        where what would have saved that one saved nothing."""
        bare = replace(task.with_outbox(file=None), results=results)
        file = chosen(bare, self._output_dir, savers) if task.row_number is not None else None
        nameless = savers.nameless(results) if task.row_number is not None and file is None else ()
        if nameless:
            nothing = nothing_saved(nameless)
            return _unless_final(lambda record: failed(record, nothing))
        if file is not None:
            self._contents.keep(task.task_id, file)
        path = file.path if file is not None else None
        return _unless_final(lambda record: finished(record.with_outbox(file=path), results))

    def read(self, results: Sequence[Result]) -> tuple[Result, ...]:
        """The results with kind and hash; of large files the hash is taken later, by `read_later`."""
        room, found = HASHED_AT_ONCE, []
        for result in results:
            room -= result.size or 0
            found.append(self._contents.hashed(result) if room >= 0 else self._contents.looked_at(result))
        return tuple(found)

    def read_later(self, results: Sequence[Result], ends: Callable[[], bool]) -> dict[str, str]:
        """The hashes that are still missing, by path; of a file that was replaced meanwhile there is none, nor of those
        that are not read when ComfyUI `ends`."""
        found = (self._contents.hashed(result, ends) for result in results if result.sha256 is None)
        return {result.path: result.sha256 for result in found if result.sha256 is not None}

    def _is_one_missing(self, task: TaskRecord, ended: Ended, results: tuple[Result, ...], savers: Savers) -> bool:
        """Whether the nodes have named nothing that can be delivered, or not what the node behind Row Task wrote."""
        if task.row_number is not None and ended.silent & savers.behind:
            return True
        return chosen(replace(task.with_outbox(file=None), results=results), self._output_dir, savers) is None

    def _on_disk(self, task: TaskRecord, ended: Ended) -> tuple[Result, ...]:
        """What no node has named: the files that carry this task's id, of the run that has ended."""
        if task.comfyui_task_id is None:
            return ()
        prompts, since = {task.task_id: task.comfyui_task_id}, parse_time(task.started_at or task.created_at)
        found = find_results(self._output_dir, prompts, since, tolerance=_CLOCK_SECONDS).get(task.task_id, ())
        # Of no earlier run; this one has the next number where its start could not be counted.
        last = max((file.run or 1 for file in found), default=1)
        newest = [file for file in found if (file.run or 1) == max(last, task.runs)]
        node = next(iter(ended.silent)) if len(ended.silent) == 1 else None
        return self.read([stamped(self._output_dir, file.path, node) for file in newest])

    def _why_not_whole(self, result: Result) -> str | None:
        path = inside(self._output_dir, result.path)
        return why_not_whole(path) if path is not None else "it lies outside the output folder"

    def _why_failed(
        self,
        task: TaskRecord,
        ended: Ended,
        results: tuple[Result, ...],
        broken: Mapping[str, str],
        *,
        prompt: Mapping[str, Any],
        savers: Savers,
    ) -> Wording | None:
        """Why a success of ComfyUI is none for us; None where it is one. What is delivered is chosen among all that was
        named: where that one is not there, or broken, no other one takes its place."""
        lost = {*ended.missing, *ended.replaced} - {result.path for result in results}
        all_named = replace(task.with_outbox(file=None), results=_with_lost(results, ended.named, lost))
        file = chosen(all_named, self._output_dir, savers) if task.row_number is not None else None
        barred = task.row_number is not None and file is None and bool(savers.nameless(all_named.results))
        wanted = file.path if file is not None else None
        some, any_will_do = len(results) > len(broken), task.row_number is None or not (broken or barred)
        if some and wanted not in {*broken, *lost} and (wanted is not None or any_will_do):
            return None
        for name, why in _first(broken, wanted):
            return Wording(
                f"ComfyUI says it finished, but {name} is no whole result: {why}",
                f"ComfyUI 报告已完成，但结果 {name} 不完整：{why}",
            )
        for name, _ in _first(dict.fromkeys(ended.replaced), wanted):
            return Wording(
                f"ComfyUI answered from its cache, but {name} was replaced by another file meanwhile → render again, "
                "and let the saver number its files",
                f"ComfyUI 用缓存作答，但 {name} 已被另一个文件覆盖 → 请重新生成，并让保存节点给文件编号",
            )
        for name, _ in _first(dict.fromkeys(ended.missing), wanted):
            return Wording(
                f"ComfyUI says it finished, but {name} is not there → render again",
                f"ComfyUI 报告已完成，但 {name} 不存在 → 请重新生成",
            )
        if task.row_number is None:
            return None
        outside = {savers.root_of(node) for node in ended.outside.values()}
        nameless = [node for node in savers.nameless(ended.named) if node not in outside]
        if some and nameless:
            return nothing_saved(nameless, ended.blocked)
        if ended.outside:
            return outside_reason(ended.outside, prompt)
        for name in ended.shown:
            return Wording(
                f"ComfyUI says it finished, but the only file that it names, {name}, was there before → look at the "
                "workflow's save node, then render again",
                f"ComfyUI 报告已完成，但它提到的文件 {name} 之前就已存在 → 请检查工作流的保存节点，再重新生成",
            )
        return NO_FILE


def _with_lost(results: Sequence[Result], named: Sequence[Result], lost: Collection[str]) -> tuple[Result, ...]:
    """The results, with what was lost where it stood among what was named."""
    order = {result.path: place for place, result in enumerate(named)}
    found = list(results)
    for result in named:
        if result.path in lost:
            places = [order.get(other.path) for other in found]
            before = [index for index, place in enumerate(places) if place is not None and place < order[result.path]]
            found.insert(before[-1] + 1 if before else 0, result)
    return tuple(found)


def _first(troubles: Mapping[str, str | None], wanted: str | None) -> list[tuple[str, str | None]]:
    """The trouble to tell of: that of the wanted file, if it has any of this kind or nothing is wanted; no other's."""
    return [(name, why) for name, why in troubles.items() if wanted in (None, name)][:1]


def _unless_final(change: Change) -> Change:
    """What has ended stays as it is."""
    return lambda record: record if record.stage.final else change(record)
