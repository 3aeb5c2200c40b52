"""Are these all the files that a prompt makes? Known to be so, or the prompt is rendered again.

Asked of a prompt that was cut off. What is known comes from what ComfyUI had said of single nodes before, and from the
node classes (`expected.py`); a number that nobody knows is no number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..table.records import TaskRecord
from ..table.values import NodeReport, Result
from .choice import wanted_kinds
from .contents import Contents, ResultGoneError
from .find import Found
from .formats import kind_by_name


def whole_result(
    task: TaskRecord, graph: Mapping[str, Any], found: Sequence[Found], contents: Contents
) -> tuple[Result, ...] | None:
    """All result files of a prompt that was cut off, or None when they are not all there, or nobody can tell.

    `graph` is the graph file (which nodes the prompt runs for, and how many files each makes), `found` what carries the
    task's id on disk. A node counts in one of three ways: ComfyUI has named its files and said that it has ended; or
    it is known how many files it makes; or it has ended, and whatever lies there is what it made.
    """
    outputs = graph.get("outputs_to_execute")
    if not isinstance(outputs, list) or not outputs:
        return None
    if task.queue is not None and task.queue.parts:  # a node has queued the prompt again: how often, nobody knows
        return None
    counts = _counts(graph)
    reports = {node: task.nodes.get(node, NodeReport()) for node in dict.fromkeys((*map(str, outputs), *counts))}
    if task.nodes.keys() - reports.keys():  # nodes that others have made: what else is to come, nobody knows
        return None
    if any(report.unlisted for report in reports.values()):  # more than the record holds
        return None
    named = _named(task, reports, contents)
    if named is None:
        return None
    ended = {node for node, report in reports.items() if report.done}
    silent = [node for node in reports if not (node in ended and reports[node].results)]
    unknown = [node for node in silent if counts.get(node) is None]
    if set(unknown) - ended:
        return None
    wanted = sum(counts[node] for node in silent if node not in unknown)
    # A node of which the number is not known may have written more than it named: whose is what nobody has named?
    loose = bool(unknown) or any(counts.get(node) is None for node in ended)
    if loose and any(counts[node] for node in silent if node not in unknown):
        return None
    free = _of_this_run(task, found, {result.path for result in named}, only_one=wanted == 1 and not loose)
    if not unknown:
        if len(free) < wanted or (len(free) > wanted != 1 and not loose):
            return None
        free = free[len(free) - wanted :] if wanted else []
    whose = _whose(graph, [node for node in silent if counts.get(node) != 0], free)
    loose_ones = [kind_by_name(path) for path, node in whose.items() if node is None]
    if task.row_number is not None and any(loose_ones.count(kind) > 1 for kind in wanted_kinds(task)):
        return None  # which of them is the row's nobody can tell
    return (*named, *(replace(contents.stamped(path), node=node) for path, node in whose.items())) or None


def _whose(graph: Mapping[str, Any], makers: Sequence[str], free: Sequence[str]) -> dict[str, str | None]:
    """Which of the nodes wrote each file, where that can be told: by the prefix in the graph, or no other is left."""
    whose: dict[str, str | None] = {}
    for path in free:
        fitting = [node for node in makers if _is_named_by(graph, node, path)]
        whose[path] = fitting[0] if len(fitting) == 1 else None
    left = [node for node in makers if node not in whose.values()]
    return {path: left[0] if node is None and len(left) == 1 else node for path, node in whose.items()}


def _is_named_by(graph: Mapping[str, Any], node: str, path: str) -> bool:
    """Whether ComfyUI's savers would call it so: prefix and number."""
    try:
        prefix = graph["prompt"][node]["inputs"]["filename_prefix"].replace("\\", "/").strip("/")
    except (KeyError, TypeError, AttributeError):
        return False
    return re.fullmatch(re.escape(prefix) + r"_\d+_?\.\w+", path) is not None


def _counts(graph: Mapping[str, Any]) -> dict[str, int]:
    """How many files each node makes, where that is known."""
    files = graph.get("files")
    numbers = files.items() if isinstance(files, Mapping) else ()
    return {str(node): number for node, number in numbers if type(number) is int and number >= 0}


def _named(task: TaskRecord, reports: Mapping[str, NodeReport], contents: Contents) -> list[Result] | None:
    """The files that ComfyUI has named of nodes that have ended; None when one of them is gone. What it named of a node
    that was still at work is no more than what lies there."""
    results = [result for report in reports.values() if report.done for result in report.results]
    try:
        for result in results:
            contents.verified(task, result)
    except ResultGoneError:
        return None
    return list({result.path: result for result in results}.values())


def _of_this_run(task: TaskRecord, found: Sequence[Found], named: set[str], *, only_one: bool) -> list[str]:
    """The files that nobody has named, of the run that was cut off. Of one file it does not matter which run made it;
    several could be the first ones of each run."""
    free = [file for file in found if file.path not in named]
    if only_one or task.runs <= 1:
        return [file.path for file in free]
    return [file.path for file in free if (file.run or 1) == task.runs]
