"""``comfy_execution.utils``: which node of which prompt is executing; only here a node sees its prompt_id."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class ExecutionContext(NamedTuple):
    """The node that is executing."""

    prompt_id: str
    node_id: str
    list_index: int | None


_current: contextvars.ContextVar[ExecutionContext | None] = contextvars.ContextVar("executing", default=None)


def get_executing_context() -> ExecutionContext | None:
    """The executing node, or None outside of a node."""
    return _current.get()


@contextmanager
def executing(prompt_id: str, node_id: str, list_index: int | None = None) -> Iterator[None]:
    """Make this node the executing one."""
    token = _current.set(ExecutionContext(prompt_id, node_id, list_index))
    try:
        yield
    finally:
        _current.reset(token)
