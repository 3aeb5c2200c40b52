"""The prompts that wait and run in this ComfyUI, each by itself: two with the same prompt_id are two.

A prompt is known by the item that was put; where another plugin hands on items of its own, by the task that its
metadata names, and else by its prompt_id. For several threads at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...bridge.table.records import TaskRecord
from ...bridge.wording import Wording
from .item import QueueItem


@dataclass(frozen=True)
class Moment:
    """A moment by the clock of a disk; without a disk, by the computer's."""

    #: nanoseconds
    at: int
    device: int | None = None

    @classmethod
    def written(cls, path: Path) -> Moment | None:
        """When a file was last written; None when it is not there."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_mtime_ns, status.st_dev)

    @classmethod
    def now(cls) -> Moment:
        """By the computer's clock."""
        return cls(time.time_ns())


@dataclass(eq=False)
class Prompt:
    """One prompt from `put` to its end."""

    #: as it was put; held, so that its identity is nobody else's meanwhile
    raw: Any
    item: QueueItem
    #: whether it is recorded at all
    recorded: bool = True
    #: the task that it is recorded as; set on the writing thread
    task_id: str | None = None
    #: the newest write that what comes next has to wait for
    write: Future[Any] | None = None
    #: what its end makes of its record, by the files as they were then
    ending: Callable[[TaskRecord], TaskRecord] | None = None
    #: it must not run: cancelled, or somebody else's
    refused: bool = False
    #: it has started before that could be looked up, as the disk did not answer
    unchecked: bool = False
    #: the worker took it before we heard of it, so it counts as begun when it is put
    starts_unseen: bool = False
    #: its attempt is in its record; set on the writing thread
    counted: bool = False
    #: its later parts, where nodes have queued it again, one after the other or several at once; all parts share it
    parts: list[Prompt] = field(default_factory=list)
    #: it was taken out before it ran, or the worker is done with it
    taken_out: bool = False
    ended: bool = False
    #: why its row gets no result, although it runs: ComfyUI has left out what would make that
    lacks: Wording | None = None
    #: texts that must not appear in messages
    secrets: list[str] = field(default_factory=list)
    #: nothing that it writes can be older; None while nobody knows
    began: Moment | None = None
    #: somebody wants it to stop; and ComfyUI's executor has begun it, which forgets that
    interrupted: bool = False
    begun: bool = False
    #: output nodes of which it is noted that they have ended; and `MADE_BY_NODES`, where that is
    done: set[str] = field(default_factory=set)
    #: nodes that ComfyUI took from its cache, and nodes that have named files of the prompt's own
    cached: frozenset[str] = frozenset()
    named: set[str] = field(default_factory=set)
    #: what a node said that handed nothing on, so that the rest did not run
    blocked: str | None = None

    @property
    def is_part(self) -> bool:
        """It is such a later part: no attempt of its own."""
        return self in self.parts

    @property
    def left(self) -> list[Prompt]:
        """The parts that have not run: while there are any, its end is not the task's."""
        return [part for part in self.parts if part is not self and not part.ended]

    def is_this(self, raw: Any) -> bool:
        """Whether an item of the queue is this prompt. What runs is a copy that ComfyUI has made of what was put."""
        item = QueueItem.of(raw)
        same = item is not None and (item.number, item.prompt_id) == (self.item.number, self.item.prompt_id)
        return raw is self.raw or same

    def is_of(self, task_id: str) -> bool:
        """Whether it is that task's."""
        return task_id in (self.item.task_id, self.task_id)


class Prompts:
    """What waits and what runs."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: list[Prompt] = []
        self._running: dict[Any, Prompt] = {}
        self._ending: list[Prompt] = []

    def add(self, prompt: Prompt) -> None:
        """Put into the queue."""
        with self._mutex:
            self._waiting.append(prompt)

    def has_task(self, task_id: str) -> bool:
        """Whether a prompt of this task waits or runs."""
        with self._mutex:
            return any(prompt.is_of(task_id) for prompt in self._all())

    def has_begun(self, task_id: str) -> bool:
        """Whether a prompt of this task runs, or its end is not recorded yet: what it wrote may have to be read."""
        with self._mutex:
            begun = (prompt for prompt in self._all() if prompt.began is not None)
            return any(prompt.is_of(task_id) for prompt in (*begun, *self._ending))

    def taken(self, raw: Any, item_id: Any) -> Prompt | None:
        """The worker takes it."""
        with self._mutex:
            prompt = self._pick(self._waiting, raw)
            if prompt is not None:
                self._waiting.remove(prompt)
                self._running[item_id] = prompt
            return prompt

    def ended(self, item_id: Any, raw: Any) -> Prompt | None:
        """The worker is done with it: it is ending until that is `over`. One that it took before we listened has no
        number yet."""
        with self._mutex:
            prompt = self._running.pop(item_id, None)
            if prompt is None:
                prompt = self._pick([prompt for prompt in self._waiting if prompt.starts_unseen], raw)
                prompt = prompt or self._pick(self._waiting, raw)
                if prompt is not None:
                    self._waiting.remove(prompt)
            if prompt is not None:
                prompt.ended = True
                self._ending.append(prompt)
            return prompt

    def over(self, prompt: Prompt) -> None:
        """Its end is recorded, or will not be."""
        with self._mutex:
            self._ending.remove(prompt)

    def deleted(self, raw: Any) -> Prompt | None:
        """Taken out before it ran."""
        with self._mutex:
            prompt = self._pick(self._waiting, raw)
            if prompt is not None:
                self._waiting.remove(prompt)
                prompt.taken_out = True
            return prompt

    def refuse(self, meant: Callable[[Any], bool]) -> None:
        """Those that wait and are meant must not run."""
        with self._mutex:
            for prompt in self._waiting:
                prompt.refused |= meant(prompt.raw)

    def all_running(self, raws: Iterable[Any]) -> list[Prompt]:
        """Those of them that run: one, in ComfyUI as it is. `raws` are what its queue says to run: it knows first."""
        with self._mutex:
            taken = [self._pick(self._waiting, raw) for raw in raws]
            return [prompt for prompt in self._all() if prompt.began is not None or prompt in taken]

    def running(self, prompt_id: str | None = None) -> Prompt | None:
        """The one that runs; with `prompt_id`, if it is that one. What the worker took unseen counts as running."""
        with self._mutex:
            unseen = (prompt for prompt in self._waiting if prompt.starts_unseen)
            for prompt in (*self._running.values(), *unseen):
                if prompt_id is None or prompt.item.prompt_id == prompt_id:
                    return prompt
            return None

    def recorded(self) -> list[Prompt]:
        """What is recorded of those that wait and run."""
        with self._mutex:
            return [prompt for prompt in self._all() if prompt.recorded]

    def _all(self) -> list[Prompt]:
        return [*self._waiting, *self._running.values()]

    def _pick(self, among: list[Prompt], raw: Any) -> Prompt | None:
        for prompt in among:
            if prompt.raw is raw:
                return prompt
        item = QueueItem.of(raw)
        if item is None:
            return None
        if item.task_id is not None:
            same = [prompt for prompt in among if prompt.is_of(item.task_id)]
        else:
            same = [prompt for prompt in among if prompt.item.prompt_id == item.prompt_id]
        return same[0] if same else None
