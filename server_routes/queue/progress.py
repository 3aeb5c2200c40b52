"""How far a prompt has come, in ComfyUI's own messages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ...bridge.table.values import MADE_BY_NODES
from .item import QueueItem


def progress_of(event: object, data: object) -> tuple[str, float, float, str] | None:
    """(prompt_id, value, max, node) in ComfyUI's own message, in both of its shapes; None when it is no progress.

    `progress` is a node's own bar; `progress_state` names all nodes that have begun, of which one runs.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("prompt_id"), str):
        return None
    if event == "progress":
        node = data
    elif event == "progress_state":
        running = [state for state in _states(data).values() if state.get("state") == "running"]
        if not running:
            return None
        node = {**running[-1], "node": running[-1].get("display_node_id") or running[-1].get("node_id")}
    else:
        return None
    value, maximum = _number(node.get("value")), _number(node.get("max"))
    if value is None or maximum is None or node.get("node") is None:
        return None
    return data["prompt_id"], value, maximum, str(node["node"])


def nodes_of(event: object, data: object, item: QueueItem) -> Iterator[tuple[str, bool]]:
    """What a message tells of the nodes that decide whether a result is whole: an output node has ended (True); a node
    runs that another one has made, so that nobody knows what else is to come (False): one word for all of these."""
    if event != "progress_state" or not isinstance(data, Mapping):
        return
    for node_id, state in _states(data).items():
        if node_id not in item.prompt:
            yield MADE_BY_NODES, False
        elif node_id in item.outputs and state.get("state") == "finished":
            yield node_id, True


def _states(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    nodes = data.get("nodes")
    states = nodes.items() if isinstance(nodes, Mapping) else ()
    return {str(node_id): state for node_id, state in states if isinstance(state, Mapping)}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
