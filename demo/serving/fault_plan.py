"""A plan that says which call of a stand-in fails, and how."""

from __future__ import annotations

import enum
import hashlib
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["FaultPlan", "Rule"]

Kind = TypeVar("Kind", bound=enum.Enum)


@dataclass
class Rule(Generic[Kind]):
    """One planned fault: for the next `times` calls that match, after letting `after` of them pass."""

    kind: Kind
    match: str = ""
    times: int | None = 1
    after: int = 0
    #: for the slow kinds
    seconds: float = 1.0
    #: for the rate limits that say when to come back, as the server sends it
    reset: str = "0"

    def means(self, operation: str, path: str) -> bool:
        """Whether this call is meant."""
        return not self.match or self.match == operation or self.match in path


@dataclass(frozen=True)
class _Dice(Generic[Kind]):
    """Failures by chance, the same for the same seed: each call's fate hangs on its operation and its number there.

    So it does not matter in which order the calls of several threads arrive.
    """

    seed: int
    share: float
    kinds: tuple[Kind, ...]
    #: what each fault takes over
    like: Rule[Kind]

    def roll(self, operation: str, possible: Callable[[Kind], bool], number: int) -> Rule[Kind] | None:
        digest = hashlib.sha256(f"{self.seed}:{operation}:{number}".encode()).digest()
        kinds = [kind for kind in self.kinds if possible(kind)]
        if not kinds or int.from_bytes(digest[:8], "big") >= self.share * 2**64:
            return None
        kind = kinds[int.from_bytes(digest[8:16], "big") % len(kinds)]
        return Rule(kind, seconds=self.like.seconds, reset=self.like.reset)


class FaultPlan(ABC, Generic[Kind]):
    """The faults to come. Rules go first, in the order they were added; then the dice.

    A call is told by its operation (`values_image`, `create`) and its path. A subclass says which faults there are.
    """

    #: all of them
    kinds: type[Kind]
    #: those that strike by chance where nothing else is said
    by_chance: tuple[Kind, ...]

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule[Kind]] = []
        self._dice: _Dice[Kind] | None = None
        self._rolled: Counter[str] = Counter()
        #: how often each kind has struck
        self.struck: Counter[Kind] = Counter()

    @abstractmethod
    def possible(self, kind: Kind, operation: str, path: str) -> bool:
        """Whether this call can fail in this way."""

    def add(
        self,
        kind: Kind | str,
        match: str = "",
        times: int | None = 1,
        *,
        after: int = 0,
        seconds: float = 1.0,
        reset: str = "0",
    ) -> Rule[Kind]:
        """Plan a fault. `match` is an operation or a part of the path; `times=None` means for ever."""
        rule = Rule(self.kinds(kind), match, times, after, seconds, reset)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule[Kind]) -> None:
        """Take a rule back; no matter if it is used up."""
        with self._lock:
            self._rules = [kept for kept in self._rules if kept is not rule]

    def random(
        self,
        seed: int,
        share: float = 0.3,
        kinds: Iterable[Kind | str] = (),
        *,
        match: str = "",
        reset: str = "0",
        seconds: float = 0.1,
    ) -> None:
        """Let this share of all calls fail, the same ones for the same seed."""
        chosen = tuple(self.kinds(kind) for kind in kinds) or self.by_chance
        like = Rule(chosen[0], match, seconds=seconds, reset=reset)
        with self._lock:
            self._dice = _Dice(seed, share, chosen, like)
            self._rolled.clear()

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._rules.clear()
            self._dice = None

    def pick(self, operation: str, path: str = "") -> Rule[Kind] | None:
        """The fault for this call, if any; uses it up."""
        with self._lock:
            rule = self._next_rule(operation, path) or self._thrown(operation, path)
            if rule is not None:
                self.struck[rule.kind] += 1
            return rule

    def apply_json(self, plan: dict[str, Any]) -> None:
        """The same over HTTP: {"clear": true, "add": [{"kind": …, "match": …, "times": …}], "random": {"seed": …}}."""
        if plan.get("clear"):
            self.clear()
        rules = plan.get("add", [])
        for rule in [rules] if isinstance(rules, dict) else rules:
            self.add(**rule)
        if "random" in plan:
            self.random(**plan["random"])

    def _next_rule(self, operation: str, path: str) -> Rule[Kind] | None:
        for rule in self._rules:
            if not rule.means(operation, path) or not self.possible(rule.kind, operation, path):
                continue
            if rule.after > 0:
                rule.after -= 1
                continue
            if rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    self._rules.remove(rule)
            return rule
        return None

    def _thrown(self, operation: str, path: str) -> Rule[Kind] | None:
        if self._dice is None:
            return None
        self._rolled[operation] += 1
        if not self._dice.like.means(operation, path):
            return None
        number = self._rolled[operation]
        return self._dice.roll(operation, lambda kind: self.possible(kind, operation, path), number)
