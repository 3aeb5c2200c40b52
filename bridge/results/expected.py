"""How many files a prompt makes, told by its node classes before it runs; None where nobody can tell.

A prompt that was cut off may have written a part of its files, and a part must never be taken for the whole. So only
known classes count: ComfyUI's own (`core_nodes`) and those that declare it themselves. Any other may map what comes
after it over a list, expand into more nodes, block a saver, or write files of its own: what lies below it is unknown.

For authors of nodes
--------------------
`WFRECOVERY_MAKES`, on the class itself (a subclass has to say it again), says how many pictures, masks, latents or
sounds the node hands on, or how many files an output node writes into the output folder:

====================  ===========================================================================
``"same"``            hands on as many as it gets
a number              hands on that many, whatever it gets; ``0``: something else (a model, a text)
``"some"``            hands on some, and the graph alone does not tell how many (a video model)
``"each"``            (output node) a file for each that it gets
``"one"``             (output node) one file each time that it runs
``"none"``            (output node) no file in the output folder
====================  ===========================================================================

It also promises that the node returns no lists (`OUTPUT_IS_LIST`), takes none (`INPUT_IS_LIST`), and neither expands
nor blocks execution. With it, a finished result is recognized after a crash and not rendered again::

    class SaveAsTiff:
        OUTPUT_NODE = True
        WFRECOVERY_MAKES = "each"
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .core_nodes import CORE_NODES, CoreNode, FramesOf, Inputs, alike, always, is_link

_DECLARATION: Final = "WFRECOVERY_MAKES"
_DECLARED: Final[Mapping[str, CoreNode]] = {"same": CoreNode(alike()), "some": CoreNode(always(None))}
#: What they hand on besides is not declared.
_DECLARED_OUTPUT: Final[Mapping[str, CoreNode]] = {
    "each": CoreNode(always(None), alike()),
    "one": CoreNode(always(None), always(1)),
    "none": CoreNode(always(None), always(0)),
}
#: More pictures than a machine holds.
_MOST: Final = 1_000_000


@dataclass(frozen=True)
class NodeClass:
    """What is known of a node class. `module` is ComfyUI's `python_module`: "nodes", "comfy_extras.nodes_video" …"""

    name: str
    module: str
    output_node: bool = False
    output_is_list: bool = False
    input_is_list: bool = False
    declared: str | int | None = None


# ------------------------------------------------------------------ the classes of a prompt


def node_classes(mappings: Mapping[str, Any], prompt: Mapping[str, Any]) -> dict[str, NodeClass]:
    """The classes that the prompt uses, from ComfyUI's NODE_CLASS_MAPPINGS. One that cannot be read is left out."""
    found = {}
    for name in {_class_type(node) for node in prompt.values()}:
        if name is not None:
            with contextlib.suppress(Exception):  # a class is foreign code: its properties may do anything
                found[name] = _described(name, mappings[name])
    return found


def _described(name: str, class_: type) -> NodeClass:
    return NodeClass(
        name,
        _module(class_),
        output_node=getattr(class_, "OUTPUT_NODE", False) is True,
        output_is_list=any(getattr(class_, "OUTPUT_IS_LIST", None) or ()),
        input_is_list=bool(getattr(class_, "INPUT_IS_LIST", False)),
        declared=vars(class_).get(_DECLARATION),
    )


def _module(class_: Any) -> str:
    """ComfyUI's name for the module; empty for a class that a pack put in the place of another one, or changed.

    ComfyUI notes the module on each class that it loads, save those of `nodes.py` itself.
    """
    noted = vars(class_).get("RELATIVE_PYTHON_MODULE", "nodes" if class_.__module__ == "nodes" else "")
    own = {base.__module__ for base in class_.__mro__}
    runs = [getattr(class_, name) for name in (class_.FUNCTION, "execute") if hasattr(class_, name)]
    return str(noted) if all(function.__module__ in own for function in runs) else ""


def node_classes_of_object_info(info: Mapping[str, Any]) -> dict[str, NodeClass]:
    """The classes of an answer of `GET /object_info`, which knows of no declarations."""
    found = {}
    for name, said in info.items():
        with contextlib.suppress(AttributeError, KeyError, TypeError):
            found[name] = NodeClass(
                name,
                str(said["python_module"]),
                output_node=said["output_node"] is True,
                output_is_list=any(said["output_is_list"]),
                input_is_list=bool(said.get("is_input_list")),
            )
    return found


# ------------------------------------------------------------------ the files of a prompt


def expected_files(
    prompt: Mapping[str, Any],
    outputs: Sequence[str],
    classes: Mapping[str, NodeClass],
    frames_of: FramesOf | None = None,
) -> dict[str, int | None]:
    """Each output node that runs for `outputs` (none given: for all of the prompt), with the number of its files.

    Counted are files in the output folder. `frames_of` is asked for the frames of the file that a node loads.
    """
    wanted = list(outputs) or [node_id for node_id, node in prompt.items() if _may_be_output(node, classes)]
    files: dict[str, int | None] = dict.fromkeys(wanted)
    made: dict[str, int | None] = {}  # only of nodes that are known, as is all that they need
    for node_id in _in_order(prompt, wanted):
        class_, inputs = _class(prompt[node_id], classes), _inputs(prompt[node_id])
        known = _known(class_) if class_ is not None else None
        if class_ is not None and class_.output_node:
            files[node_id] = None
        if known is None or not all(_is_known(value, made) for value in inputs.values()):
            continue
        values = Inputs(inputs, made, frames_of)
        made[node_id] = _bounded(known.makes(values))
        if known.writes is not None:
            files[node_id] = _bounded(known.writes(values))
    return files


def writes_no_file(node: Any, classes: Mapping[str, NodeClass]) -> bool:
    """Whether a node surely writes nothing into the output folder, whatever it gets: it shows a preview, say."""
    class_ = _class(node, classes)
    known = _known(class_) if class_ is not None else None
    return known is not None and known.writes is not None and known.writes(Inputs(_inputs(node), {}, None)) == 0


def _known(class_: NodeClass) -> CoreNode | None:
    if class_.output_is_list or class_.input_is_list:
        return None
    core = CORE_NODES.get(class_.module, {}).get(class_.name)
    if core is not None:
        return core if class_.output_node == (core.writes is not None) else None
    if isinstance(class_.declared, str):
        return (_DECLARED_OUTPUT if class_.output_node else _DECLARED).get(class_.declared)
    if type(class_.declared) is int and class_.declared >= 0 and not class_.output_node:
        return CoreNode(always(class_.declared))
    return None


def _bounded(number: int | None) -> int | None:
    return number if number is not None and number <= _MOST else None


def _may_be_output(node: Any, classes: Mapping[str, NodeClass]) -> bool:
    class_ = _class(node, classes)
    return class_ is None or class_.output_node


def _class(node: Any, classes: Mapping[str, NodeClass]) -> NodeClass | None:
    return classes.get(_class_type(node) or "")


def _is_known(value: Any, made: Mapping[str, int | None]) -> bool:
    """A list that is no link is nothing that ComfyUI's own page sends."""
    return value[0] in made if is_link(value) else not isinstance(value, list)


def _class_type(node: Any) -> str | None:
    name = node.get("class_type") if isinstance(node, Mapping) else None
    return name if isinstance(name, str) else None


def _inputs(node: Any) -> Mapping[str, Any]:
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def _in_order(prompt: Mapping[str, Any], wanted: Iterable[str]) -> Iterator[str]:
    """The wanted nodes and all that they need, each after what it needs; without those that wait for each other."""
    origins: dict[str, set[str]] = {}
    stack = [node_id for node_id in wanted if node_id in prompt]
    while stack:
        node_id = stack.pop()
        if node_id not in origins:
            links = (value[0] for value in _inputs(prompt[node_id]).values() if is_link(value))
            origins[node_id] = {origin for origin in links if origin in prompt}
            stack += origins[node_id]
    followers: dict[str, list[str]] = {node_id: [] for node_id in origins}
    for node_id, needed in origins.items():
        for origin in needed:
            followers[origin].append(node_id)
    waits = {node_id: len(needed) for node_id, needed in origins.items()}
    ready = [node_id for node_id, count in waits.items() if count == 0]
    while ready:
        node_id = ready.pop()
        yield node_id
        for follower in followers[node_id]:
            waits[follower] -= 1
            if waits[follower] == 0:
                ready.append(follower)
