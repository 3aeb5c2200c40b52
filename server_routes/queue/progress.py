"""How far a node has come, in ComfyUI's own messages."""

from __future__ import annotations

from collections.abc import Mapping


def progress_of(event: object, data: object) -> tuple[str, float, float, str] | None:
    """(prompt_id, value, max, node) in ComfyUI's own message, in both of its shapes; None when it is no progress.

    `progress` is a node's own bar; `progress_state` names all nodes that have begun, of which one runs.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("prompt_id"), str):
        return None
    if event == "progress":
        node = data
    elif event == "progress_state":
        states = data.get("nodes")
        nodes = list(states.values()) if isinstance(states, Mapping) else []
        running = [state for state in nodes if isinstance(state, Mapping) and state.get("state") == "running"]
        if not running:
            return None
        node = {**running[-1], "node": running[-1].get("display_node_id") or running[-1].get("node_id")}
    else:
        return None
    value, maximum = node.get("value"), node.get("max")
    if not isinstance(value, int | float) or not isinstance(maximum, int | float) or node.get("node") is None:
        return None
    return data["prompt_id"], value, maximum, str(node["node"])
