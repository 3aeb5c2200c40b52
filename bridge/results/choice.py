"""Which of a task's files is delivered: chosen by kind; of several the one behind Row Task, else the last.

The last in the graph's own order: in which order ComfyUI runs and names output nodes is chance, and another one in each
process.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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
#: What inputs are called that say where a file goes, or what it is called.
_FILE_NAME: Final = re.compile(r"name|prefix|path|file|folder", re.IGNORECASE)
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
    #: which inputs of a node take something from Row Task
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: the output nodes of this prompt that take their file name from it, in the graph's order: nothing takes the place
    #: of what they save
    named: tuple[str, ...] = ()

    @classmethod
    def of(cls, prompt: Mapping[str, Any], outputs: Collection[Any]) -> Savers:
        """`outputs`: the output nodes that the prompt runs for; none where nobody knows."""
        nodes = {str(node_id): node for node_id, node in prompt.items() if isinstance(node, Mapping)}
        tasks = {node_id for node_id, node in nodes.items() if node.get("class_type") == ROW_TASK}
        inputs = {node_id: _inputs_from(tasks, node) for node_id, node in nodes.items()}
        places = {node_id: place for place, node_id in enumerate(nodes)}
        runs = frozenset(map(str, outputs))
        return cls(places, inputs, tuple(node for node in nodes if node in runs and takes_file_name(inputs[node])))

    @property
    def behind(self) -> frozenset[str]:
        """The nodes behind Row Task: what they save is the row's before all others."""
        return frozenset(node for node, names in self.inputs.items() if names)

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

    def nameless(self, results: Collection[Result]) -> list[str]:
        """Which of those that have to save the row's file have named none."""
        made = {self.root_of(result.node) for result in results}
        return [node for node in self.named if node not in made]


def chosen(task: TaskRecord, output_dir: Path, savers: Savers | None = None) -> Result | None:
    """The file to deliver; None where the task has none of the kind that its workflow makes, or not the row's."""
    if task.outbox.file is not None:
        return next((result for result in task.results if result.path == task.outbox.file), None)
    savers = savers or Savers()
    in_order = sorted(task.results, key=savers.place_of)
    # what is the row's named nothing: it may be among what nobody has named, and is nothing else
    nameless = savers.nameless(task.results)
    for kind in wanted_kinds(task):
        fitting = [result for result in in_order if _kind(output_dir, result) is kind]
        if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value and kind is Kind.PICTURE:
            fitting = [result for result in fitting if _is_animated(inside(output_dir, result.path))]
        if fitting:
            behind = [result for result in fitting if savers.root_of(result.node) in savers.behind]
            before = savers.place_of(behind[-1]) if behind else -math.inf
            if all(savers.places[node] < before for node in nameless):
                return (behind or fitting)[-1]
            return next((result for result in reversed(fitting) if result.node is None), None)
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


def takes_file_name(inputs: Iterable[str]) -> bool:
    """Whether one of these inputs says where a file goes, or what it is called."""
    return any(_FILE_NAME.search(name) for name in inputs)


def _inputs_from(nodes: Collection[str], node: Mapping[str, Any]) -> list[str]:
    """Which of its inputs come from one of these nodes."""
    inputs = node.get("inputs")
    links = inputs.items() if isinstance(inputs, Mapping) else ()
    return [
        str(name) for name, value in links if isinstance(value, list) and len(value) == 2 and str(value[0]) in nodes
    ]


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
