"""The stand-in's own HTTP: what a test does by a method, for whoever runs it as a process."""

from __future__ import annotations

from typing import Any, Protocol

from .faults import FaultPlan
from .switches import Limits, Switches
from .wire import Answer, Request, envelope

__all__ = ["Control"]


class _Controlled(Protocol):
    faults: FaultPlan
    switches: Switches
    limits: Limits

    def finish(self, task_id: str) -> None: ...
    def fail(self, task_id: str, reason: str = ...) -> None: ...
    def forget(self, task_id: str) -> None: ...
    def to_json(self) -> dict[str, Any]: ...


class Control:
    """Everything below `/_standin`: GET says what has happened, POST changes what is in its object."""

    def __init__(self, controlled: _Controlled) -> None:
        self._controlled = controlled

    def answer(self, request: Request) -> Answer | None:
        """None: the request is for the service."""
        if request.path != "/_standin":
            return None
        try:
            if request.method == "POST":
                self._change(**request.json())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return envelope(1, f"{type(error).__name__}: {error}", None)
        return envelope(0, "success", self._controlled.to_json())

    def _change(
        self,
        faults: dict[str, Any] | None = None,
        switches: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        finish: str | None = None,
        fail: str | None = None,
        forget: str | None = None,
    ) -> None:
        """`faults` as in `FaultPlan.apply_json`; `finish`, `fail` and `forget` each name a task."""
        cloud = self._controlled
        cloud.faults.apply_json(faults or {})
        for name, value in (switches or {}).items():
            setattr(cloud.switches, name, value)
        for name, value in (limits or {}).items():
            setattr(cloud.limits, name, value)
        for task_id, change in ((finish, cloud.finish), (fail, cloud.fail), (forget, cloud.forget)):
            if task_id is not None:
                change(task_id)
