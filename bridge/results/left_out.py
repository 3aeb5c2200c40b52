"""ComfyUI calls a prompt valid of which one output is, and runs that alone. Which of those that it leaves out a row
cannot do without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from ..table.records import WorkflowType
from .choice import Savers, takes_file_name
from .core_nodes import CORE_NODES, is_link
from .expected import NodeClass, writes_no_file

#: Words in the names of classes that save films, and what no row is for.
_FILMS: Final = ("video", "webm", "vhs", "animated", "gif")
_NEITHER: Final = ("audio", "latent", "text")


def left_out(node_errors: Any) -> list[str]:
    """The outputs that ComfyUI does not run, by the ``node_errors`` of its answer."""
    errors = node_errors.values() if isinstance(node_errors, Mapping) else ()
    told = (error.get("dependent_outputs") for error in errors if isinstance(error, Mapping))
    return list(dict.fromkeys(str(output) for outputs in told if isinstance(outputs, list) for output in outputs))


def lacking(
    prompt: Mapping[str, Any], outputs: Sequence[str], classes: Mapping[str, NodeClass], workflow_type: str | None
) -> tuple[str, ...]:
    """The one of the outputs left out whose file would have been delivered, if it is among them: of those that make
    what the workflow makes the last that takes its file name from Row Task, or else something, or the last at all."""
    savers = Savers.of(prompt, ())
    fitting = [
        node
        for node, inner in prompt.items()
        if (node in outputs or _is_output(inner, classes)) and _may_make(inner, classes, workflow_type)
    ]
    named = [node for node in fitting if takes_file_name(savers.inputs.get(node, ()))]
    behind = [node for node in fitting if node in savers.behind]
    return tuple(node for node in (named or behind or fitting)[-1:] if node in outputs)


def _may_make(node: Any, classes: Mapping[str, NodeClass], workflow_type: str | None) -> bool:
    """Whether it may write a file of the kind. Of a class that is not ComfyUI's own its name and its inputs tell: what
    shows a text takes no file name, and nobody calls a picture's saver after videos."""
    if not isinstance(node, Mapping) or writes_no_file(node, classes):
        return False
    words, inputs = str(node.get("class_type")).lower(), node.get("inputs")
    film = any(word in words for word in _FILMS)
    if any(word in words for word in _NEITHER) or (film and workflow_type == WorkflowType.IMAGE_COMPOSITION.value):
        return False
    known = classes.get(str(node.get("class_type")))
    own = known is not None and known.name in CORE_NODES.get(known.module, {})
    return own or takes_file_name(inputs if isinstance(inputs, Mapping) else ())


def may_lack(prompt: Mapping[str, Any], outputs: Collection[str]) -> bool:
    """Whether an output may have been left out of a prompt that was queued for `outputs`: what is left out has an end
    of the graph behind it, or is one."""
    needed = {
        str(value[0])
        for node in prompt.values()
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping)
        for value in node["inputs"].values()
        if is_link(value)
    }
    return any(node not in outputs for node in prompt if node not in needed)


def not_run(prompt: Mapping[str, Any], outputs: Sequence[str], classes: Mapping[str, NodeClass]) -> list[str]:
    """The output nodes of a prompt that was queued for `outputs` alone."""
    return [node for node, inner in prompt.items() if node not in outputs and _is_output(inner, classes)]


def _is_output(node: Any, classes: Mapping[str, NodeClass]) -> bool:
    known = classes.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
    return known is not None and known.output_node
