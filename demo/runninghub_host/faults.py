"""What can go wrong with the cloud, on demand: a plan that says which call of the stand-in fails, and how."""

from __future__ import annotations

import enum
import hashlib
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["BROKEN", "BUSY", "CODES", "Fault", "FaultPlan", "Rule"]


class Fault(str, enum.Enum):
    """A way to fail. "Done" means that the call has had its effect all the same: a task is accepted, and paid for."""

    #: surely not accepted, and will be later: the account's queue is full, no machine is free, and what public programs
    #: try again as well
    QUEUE_FULL_421 = "QUEUE_FULL_421"
    NO_MACHINE_415 = "NO_MACHINE_415"
    RATE_1003 = "RATE_1003"
    BUSY_1011 = "BUSY_1011"
    CONCURRENCY_1520 = "CONCURRENCY_1520"
    #: refused, and will be again: the request, the workflow, its validation, its nodes, never saved; an empty wallet
    PARAMS_301 = "PARAMS_301"
    WORKFLOW_380 = "WORKFLOW_380"
    VALIDATION_433 = "VALIDATION_433"
    NODE_803 = "NODE_803"
    NOT_SAVED_810 = "NOT_SAVED_810"
    WALLET_416 = "WALLET_416"
    #: an upload that fails
    UPLOAD_808 = "UPLOAD_808"
    #: said of a task whatever it is at
    RUNNING_804 = "RUNNING_804"
    QUEUED_813 = "QUEUED_813"
    FAILED_805 = "FAILED_805"
    UNKNOWN_807 = "UNKNOWN_807"
    UNKNOWN_423 = "UNKNOWN_423"
    #: the key is no longer valid; an error of the service's own. Both not done
    KEY_802 = "KEY_802"
    ERROR_500 = "ERROR_500"
    #: a gateway's page instead of JSON, not done, and done
    HTML_502 = "HTML_502"
    HTML_502_AFTER = "HTML_502_AFTER"
    #: a proxy's page with HTTP 200, not done, and done
    HTML_200 = "HTML_200"
    HTML_200_AFTER = "HTML_200_AFTER"
    #: too many requests, by HTTP alone; not done
    HTTP_429 = "HTTP_429"
    #: the connection is reset without an answer, not done, and done
    RESET_BEFORE = "RESET_BEFORE"
    RESET_AFTER = "RESET_AFTER"
    #: the connection stays open and nothing comes, until the stand-in stops; not done, and done
    HANG_BEFORE = "HANG_BEFORE"
    HANG_AFTER = "HANG_AFTER"
    #: done, and answered after `seconds`
    SLOW = "SLOW"
    #: done; half of the body comes, though Content-Length promises all of it
    HALF_BODY = "HALF_BODY"
    #: done; code 0, and `data` is null
    NULL_DATA = "NULL_DATA"
    #: the address of a result is no longer valid
    EXPIRED_403 = "EXPIRED_403"
    GONE_404 = "GONE_404"
    #: the whole file without Content-Length, and half of it: its own content alone tells that
    NO_LENGTH = "NO_LENGTH"
    NO_LENGTH_HALF = "NO_LENGTH_HALF"


#: these are told by their HTTP status, not by a code
_BY_STATUS: Final = (Fault.HTML_502, Fault.HTML_200, Fault.HTTP_429, Fault.EXPIRED_403, Fault.GONE_404)
#: the code that the others answer with whose name ends with it
CODES: Final = {
    kind: int(kind.name.rpartition("_")[2])
    for kind in Fault
    if kind.name.rpartition("_")[2].isdigit() and kind not in _BY_STATUS
}
#: a client waits for its turn, and nothing was accepted
BUSY: Final = (
    Fault.QUEUE_FULL_421,
    Fault.NO_MACHINE_415,
    Fault.RATE_1003,
    Fault.BUSY_1011,
    Fault.CONCURRENCY_1520,
)
#: a client should get over these by itself; only of a create nobody knows then whether it was accepted
BROKEN: Final = (
    Fault.ERROR_500,
    Fault.HTML_502,
    Fault.HTML_502_AFTER,
    Fault.HTML_200,
    Fault.HTML_200_AFTER,
    Fault.HTTP_429,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.HALF_BODY,
    Fault.NULL_DATA,
)

_OF_A_TASK: Final = ("status", "outputs", "cancel")
#: where a fault can strike; the others can strike anywhere
_WHERE: Final[dict[Fault, tuple[str, ...]]] = {
    **dict.fromkeys((*BUSY, Fault.WALLET_416, Fault.NODE_803, Fault.VALIDATION_433), ("create",)),
    **dict.fromkeys((Fault.WORKFLOW_380, Fault.NOT_SAVED_810), ("create", "workflow")),
    **dict.fromkeys((Fault.UNKNOWN_807, Fault.UNKNOWN_423), _OF_A_TASK),
    **dict.fromkeys((Fault.RUNNING_804, Fault.QUEUED_813, Fault.FAILED_805), ("outputs",)),
    Fault.UPLOAD_808: ("upload",),
    **dict.fromkeys((Fault.EXPIRED_403, Fault.GONE_404, Fault.NO_LENGTH, Fault.NO_LENGTH_HALF), ("download",)),
    **dict.fromkeys(
        (Fault.PARAMS_301, Fault.KEY_802, Fault.ERROR_500, Fault.NULL_DATA),
        ("create", *_OF_A_TASK, "upload", "account", "workflow"),
    ),
}


def _possible(kind: Fault, call: str) -> bool:
    where = _WHERE.get(kind)
    return where is None or call in where


@dataclass
class Rule:
    """One planned fault: for the next `times` calls of this name, after letting `after` of them pass."""

    kind: Fault
    call: str = ""
    times: int | None = 1
    after: int = 0
    #: for the slow kind
    seconds: float = 1.0

    def fits(self, call: str) -> bool:
        """Whether this call is meant, and can fail in this way."""
        return self.call in ("", call) and _possible(self.kind, call)


@dataclass(frozen=True)
class _Dice:
    """Failures by chance, the same for the same seed: each call's fate hangs on its name and its number of that name.

    So it does not matter in which order the calls of several threads arrive.
    """

    seed: int
    share: float
    kinds: tuple[Fault, ...]
    call: str
    seconds: float

    def roll(self, call: str, number: int) -> Rule | None:
        kinds = [kind for kind in self.kinds if self.call in ("", call) and _possible(kind, call)]
        digest = hashlib.sha256(f"{self.seed}:{call}:{number}".encode()).digest()
        if not kinds or int.from_bytes(digest[:8], "big") >= self.share * 2**64:
            return None
        return Rule(kinds[int.from_bytes(digest[8:16], "big") % len(kinds)], seconds=self.seconds)


class FaultPlan:
    """The faults to come. Rules go first, in the order they were added; then the dice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._dice: _Dice | None = None
        self._rolled: Counter[str] = Counter()
        #: how often each kind has struck
        self.struck: Counter[Fault] = Counter()

    def add(self, kind: Fault, call: str = "", times: int | None = 1, *, after: int = 0, seconds: float = 1.0) -> Rule:
        """Plan a fault. `call` is a name as in `calls` (create, outputs, download); `times=None` means for ever."""
        rule = Rule(Fault(kind), call, times, after, seconds)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Take a rule back; no matter if it is used up."""
        with self._lock:
            self._rules = [kept for kept in self._rules if kept is not rule]

    def random(
        self,
        seed: int,
        share: float = 0.3,
        kinds: Iterable[Fault] = (*BUSY, *BROKEN),
        *,
        call: str = "",
        seconds: float = 0.1,
    ) -> None:
        """Let this share of all calls fail, the same ones for the same seed."""
        with self._lock:
            self._dice = _Dice(seed, share, tuple(Fault(kind) for kind in kinds), call, seconds)
            self._rolled.clear()

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._rules.clear()
            self._dice = None

    def pick(self, call: str) -> Rule | None:
        """The fault for this call, if any; uses it up."""
        with self._lock:
            rule = self._next_rule(call) or self._by_chance(call)
            if rule is not None:
                self.struck[rule.kind] += 1
            return rule

    def apply_json(self, plan: dict[str, Any]) -> None:
        """The same over HTTP: {"clear": true, "add": [{"kind": …, "call": …, "times": …}], "random": {"seed": …}}."""
        if plan.get("clear"):
            self.clear()
        for rule in plan.get("add", []):
            self.add(**rule)
        if "random" in plan:
            self.random(**plan["random"])

    def _next_rule(self, call: str) -> Rule | None:
        for rule in self._rules:
            if not rule.fits(call):
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

    def _by_chance(self, call: str) -> Rule | None:
        if self._dice is None:
            return None
        self._rolled[call] += 1
        return self._dice.roll(call, self._rolled[call])
