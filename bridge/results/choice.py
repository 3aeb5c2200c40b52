"""Which of a task's files is delivered: chosen by kind; of several the one behind Row Task, else the last.

The last in the graph's own order: in which order ComfyUI runs and names output nodes is chance, and another one in each
process.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..inside import inside
from ..table.content import opened
from ..table.records import TaskRecord, WorkflowType
from ..table.values import Kind, Result
from ..wording import Wording
from .formats import kind_of

#: The node that says which row a graph is for.
ROW_TASK: Final = "WfrecoveryRowTask"
#: Which of its outputs is the name of the file.
_FILE_NAME: Final = 1
#: What a workflow makes, the first choice first: a film may also be an animated picture.
_WANTED: Final[Mapping[str | None, tuple[Kind, ...]]] = {
    WorkflowType.IMAGE_COMPOSITION.value: (Kind.PICTURE,),
    WorkflowType.IMAGE_TO_VIDEO.value: (Kind.VIDEO, Kind.PICTURE),
    None: (Kind.PICTURE, Kind.VIDEO, Kind.AUDIO),
}
#: How far into a picture the mark of an animation is looked for; all formats have it before the first frame.
_HEAD: Final = 256 * 1024
_ANIMATED: Final = (b"acTL", b"ANIM", b"NETSCAPE2.0")


@dataclass(frozen=True)
class Savers:
    """What a graph tells of the nodes whose files are looked at."""

    #: of each node in the graph
    places: Mapping[str, int] = field(default_factory=dict)
    #: take something from Row Task: what they save is the row's before all others
    behind: frozenset[str] = frozenset()
    #: output nodes of this prompt that take their file name from it: nothing takes the place of what they save
    named: frozenset[str] = frozenset()

    @classmethod
    def of(cls, prompt: Mapping[str, Any], outputs: Collection[Any]) -> Savers:
        """`outputs`: the output nodes that the prompt runs for; none where nobody knows."""
        nodes = {str(node_id): node for node_id, node in prompt.items() if isinstance(node, Mapping)}
        tasks = {node_id for node_id, node in nodes.items() if node.get("class_type") == ROW_TASK}
        links = {node_id: [link for link in _links(node) if str(link[0]) in tasks] for node_id, node in nodes.items()}
        named = {node_id for node_id, found in links.items() if any(slot == _FILE_NAME for _, slot in found)}
        places = {node_id: place for place, node_id in enumerate(nodes)}
        behind = frozenset(node_id for node_id, found in links.items() if found)
        return cls(places, behind, frozenset(named.intersection(map(str, outputs))))

    @classmethod
    def of_graph(cls, graph: Mapping[str, Any] | None) -> Savers:
        """By a graph file."""
        return cls() if graph is None else cls.of(graph["prompt"], graph.get("outputs_to_execute") or ())

    def root_of(self, node: str | None) -> str | None:
        """The node of the graph: itself, or the one that has made it ("5.0.0.1" by 5: ComfyUI's GraphBuilder)."""
        return node if node is None or node in self.places else node.partition(".")[0]

    def place_of(self, result: Result) -> float:
        """Lower is earlier; of unknown nodes nobody knows more than that they have come last."""
        return self.places.get(self.root_of(result.node) or "", math.inf)

    def nameless(self, results: Collection[Result]) -> frozenset[str]:
        """Which of those that have to save the row's file have named none."""
        return self.named - {self.root_of(result.node) for result in results}


def chosen(task: TaskRecord, output_dir: Path, savers: Savers | None = None) -> Result | None:
    """The file to deliver; None where the task has none of the kind that its workflow makes, or not the row's."""
    if task.outbox.file is not None:
        return next((result for result in task.results if result.path == task.outbox.file), None)
    savers = savers or Savers()
    in_order = sorted(task.results, key=savers.place_of)
    # what is the row's named nothing: it may be among what nobody has named, and is nothing else
    only_unnamed = bool(savers.nameless(task.results))
    for kind in wanted_kinds(task):
        fitting = [result for result in in_order if _kind(output_dir, result) is kind]
        if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value and kind is Kind.PICTURE:
            fitting = [result for result in fitting if _is_animated(inside(output_dir, result.path))]
        if fitting:
            behind = [result for result in fitting if savers.root_of(result.node) in savers.behind]
            others = [result for result in fitting if result.node is None or not only_unnamed]
            return behind[-1] if behind else others[-1] if others else None
    return None


def wanted_kinds(task: TaskRecord) -> tuple[Kind, ...]:
    """What its workflow makes, the first choice first."""
    return _WANTED[task.workflow_type]


def fits(task: TaskRecord, output_dir: Path, result: Result) -> bool:
    """Whether a file alone would be what is delivered."""
    alone = dataclasses.replace(task.with_outbox(file=None), results=(result,))
    return chosen(alone, output_dir) is not None


def nothing_saved(nodes: Collection[str], said: str | None = None) -> Wording:
    """Why a success without the row's own file is none. `said`: by the node that blocked it."""
    names = ", ".join(sorted(nodes))
    words = f" ({said})" if said else ""
    return Wording(
        f"ComfyUI says it finished, but the saver behind Row Task (node {names}) saved nothing: it was blocked, or a "
        f"node before it was{words} → look at what that node checks, then render the row again",
        f"ComfyUI 报告已完成，但 Row Task 后面的保存节点（节点 {names}）没有保存文件：它或它前面的节点被阻止{words} → "
        "请检查该节点的条件，再重新生成该行",
    )


def none_fits(task: TaskRecord) -> Wording:
    """Why nothing of what a task made can be delivered."""
    names = ", ".join(result.path for result in task.results[:5]) or "–"
    video = task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value
    wanted, gesucht = ("video", "视频") if video else ("picture", "图片")
    return Wording(
        f"the task made no {wanted} (its files: {names}) → look at the workflow's save node, then render the row again",
        f"任务没有生成{gesucht}（文件：{names}）→ 请检查工作流的保存节点，再重新生成该行",
    )


def _links(node: Mapping[str, Any]) -> list[list[Any]]:
    """Where its inputs come from: the node and which of its outputs."""
    inputs = node.get("inputs")
    values = inputs.values() if isinstance(inputs, Mapping) else ()
    return [value for value in values if isinstance(value, list) and len(value) == 2]


def _kind(output_dir: Path, result: Result) -> Kind:
    path = inside(output_dir, result.path)
    return result.kind or (kind_of(path) if path is not None else Kind.OTHER)


def _is_animated(path: Path | None) -> bool:
    if path is None:
        return False
    try:
        with opened(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return any(mark in head for mark in _ANIMATED)
