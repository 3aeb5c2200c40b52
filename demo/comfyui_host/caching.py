"""The result cache, as ComfyUI's "classic" one: a node that is the same as in the previous prompt is not run again.

The signature of a node is its class, its constant inputs, what ``IS_CHANGED`` says, and the same of all its ancestors.
Hidden inputs and ``extra_pnginfo`` are not part of it: the same graph sent for another task succeeds without writing
anything and names the files of the first one.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Graph = dict[str, dict[str, Any]]


def is_link(value: object) -> bool:
    """Whether an input value is ``[node id, output number]``."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (int, float))
    )


@dataclass
class Entry:
    """What one executed node left behind."""

    outputs: list[list[Any]]
    #: ``{"meta": …, "output": …}`` for the history, when the node showed anything.
    ui: dict[str, Any] | None = None


@dataclass
class Cache:
    """Results by signature; only those that the current prompt mentions survive its start."""

    #: node id -> signature, for the current prompt
    keys: dict[str, object] = field(default_factory=dict)
    entries: dict[object, Entry] = field(default_factory=dict)

    async def set_prompt(self, graph: Graph, classes: dict[str, type], is_changed: IsChanged) -> None:
        """Take a new prompt: compute its signatures and drop what it does not mention."""
        self.keys = {}
        for node_id in graph:
            self.keys[node_id] = await _signature(graph, classes, node_id, is_changed)
        used = set(self.keys.values())
        self.entries = {key: entry for key, entry in self.entries.items() if key in used}

    def get(self, node_id: str) -> Entry | None:
        """The result of a node of the current prompt."""
        return self.entries.get(self.keys.get(node_id))

    def set(self, node_id: str, entry: Entry) -> None:
        """Keep the result of a node of the current prompt."""
        self.entries[self.keys[node_id]] = entry


IsChanged = Callable[[str], Awaitable[object]]


async def _signature(graph: Graph, classes: dict[str, type], node_id: str, is_changed: IsChanged) -> object:
    order: dict[str, int] = {}
    _ancestors(graph, node_id, order)
    parts = [await _own_signature(graph, classes, one, order, is_changed) for one in (node_id, *order)]
    try:
        return json.dumps(parts, allow_nan=False)
    except (TypeError, ValueError):
        # A NaN is how IS_CHANGED says "always"; like what cannot be written down, it equals nothing.
        return object()


def _ancestors(graph: Graph, node_id: str, order: dict[str, int]) -> None:
    inputs = graph[node_id]["inputs"] if node_id in graph else {}
    for name in sorted(inputs):
        value = inputs[name]
        if is_link(value) and value[0] not in order:
            order[value[0]] = len(order)
            _ancestors(graph, value[0], order)


async def _own_signature(
    graph: Graph, classes: dict[str, type], node_id: str, order: dict[str, int], is_changed: IsChanged
) -> list[object]:
    if node_id not in graph:
        return [float("nan")]
    class_type = graph[node_id]["class_type"]
    node_class: Any = classes[class_type]
    signature: list[object] = [class_type, await is_changed(node_id)]
    hidden = node_class.INPUT_TYPES().get("hidden", {})
    if getattr(node_class, "NOT_IDEMPOTENT", False) or "UNIQUE_ID" in hidden.values():
        signature.append(node_id)
    inputs = graph[node_id]["inputs"]
    for name in sorted(inputs):
        value = inputs[name]
        signature.append([name, ["ANCESTOR", order[value[0]], value[1]] if is_link(value) else ["VALUE", value]])
    return signature


class IsChangedOnce:
    """``IS_CHANGED`` of each node, asked once per prompt and written into the graph as ComfyUI does."""

    def __init__(self, graph: Graph, classes: dict[str, type]) -> None:
        self.graph = graph
        self.classes = classes
        self.known: dict[str, object] = {}

    async def __call__(self, node_id: str) -> object:
        """What the node's ``IS_CHANGED`` says; False for a node without one."""
        if node_id not in self.known:
            self.known[node_id] = await self._ask(node_id)
        return self.known[node_id]

    async def _ask(self, node_id: str) -> object:
        node = self.graph[node_id]
        node_class: Any = self.classes[node["class_type"]]
        function = getattr(node_class, "IS_CHANGED", None)
        if function is None:
            return False
        if "is_changed" in node:
            return node["is_changed"]
        known = set().union(*node_class.INPUT_TYPES().values())
        # Inputs that come from other nodes are not known yet: ComfyUI passes None for them.
        arguments = {k: None if is_link(v) else v for k, v in node["inputs"].items() if k in known}
        try:
            answer = function(**arguments)
            node["is_changed"] = [await answer if inspect.isawaitable(answer) else answer]
        except Exception as error:
            logging.warning("WARNING: %s", error)
            node["is_changed"] = float("nan")
        return node["is_changed"]
