"""What can go wrong with the cloud, on demand."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from ..serving import fault_plan

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


class FaultPlan(fault_plan.FaultPlan[Fault]):
    """The faults to come: a call is told by its name, as in `calls` (create, outputs, download)."""

    kinds = Fault
    by_chance = (*BUSY, *BROKEN)

    def possible(self, kind: Fault, operation: str, path: str) -> bool:
        where = _WHERE.get(kind)
        return where is None or operation in where


Rule: TypeAlias = fault_plan.Rule[Fault]
