"""ComfyUI calls a prompt valid of which one output is, and runs that alone. Which of those that it leaves out a row
cannot do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .choice import Savers
from .expected import NodeClass, writes_no_file


def left_out(node_errors: Any) -> list[str]:
    """The outputs that ComfyUI does not run, by the ``node_errors`` of its answer."""
    errors = node_errors.values() if isinstance(node_errors, Mapping) else ()
    outputs = (str(output) for error in errors for output in error.get("dependent_outputs", ()))
    return list(dict.fromkeys(outputs))


def lacking(prompt: Mapping[str, Any], outputs: Sequence[str], classes: Mapping[str, NodeClass]) -> tuple[str, ...]:
    """Those of the outputs left out that would have made the row's result: what takes its file name from Row Task, or
    else something, or else the last one of the graph that may write a file."""
    may_write = [
        node
        for node, inner in prompt.items()
        if (node in outputs or _is_output(inner, classes)) and not writes_no_file(inner, classes)
    ]
    savers = Savers.of(prompt, may_write)
    needed = savers.named or savers.behind.intersection(may_write) or may_write[-1:]
    return tuple(node for node in outputs if node in needed)


def not_run(prompt: Mapping[str, Any], outputs: Sequence[str], classes: Mapping[str, NodeClass]) -> list[str]:
    """The output nodes of a prompt that was queued for `outputs` alone."""
    return [node for node, inner in prompt.items() if node not in outputs and _is_output(inner, classes)]


def _is_output(node: Any, classes: Mapping[str, NodeClass]) -> bool:
    known = classes.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
    return known is not None and known.output_node
