"""The settings of the stand-in: what an account may do, and how the service answers where nobody knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_type_hints

from ..serving.unknowns import Unknowns

__all__ = ["UNKNOWN", "UNKNOWN_AND_HARSH", "Limits", "Switches"]


@dataclass
class Limits:
    """What there is of each thing; None: as much as one likes."""

    #: tasks of one account that run at the same time; the others wait in the queue
    running: int | None = None
    #: tasks of one account that wait or run; one more is refused with 421
    unfinished: int | None = None
    #: machines, for all accounts; while so many tasks run, a new one is refused with 415
    machines: int | None = None
    #: runs that an account has money for; one more is refused with 416
    runs: int | None = None
    #: of one upload; more is refused with 809
    upload_bytes: int = 30 * 1024 * 1024
    #: seconds that the address of a result lives
    address_seconds: float | None = None
    #: and how often it can be fetched
    address_fetches: int | None = None
    #: seconds after its end when the service no longer knows a task
    remember_seconds: float | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in get_type_hints(Limits):
            raise AttributeError(f"there is no limit {name}")
        super().__setattr__(name, value)


#: what nobody knows of the service, or what varies, and all that it may be
UNKNOWN: Final[Mapping[str, Sequence[Any]]] = {
    "number_ids": (False, True),
    "number_times": (False, True),
    "status_data": ("text", "object"),
    "success": ("success", "SUCCESS", ""),
    "unknown_task_code": (807, 423),
    "wrong_key_code": (802, 806, 811),
    "wrong_workflow_code": (380, 810),
    "wrong_node_code": (803, 433),
    "late_cancel_code": (817, 0),
    "empty_polls": (0, 1, 2),
    "empty_data": ("list", "null"),
    "outputs_order": ("forward", "backward"),
    "signed_addresses": (False, True),
    "chinese_names": (False, True),
    "expired_status": (403, 404),
    "upload_names": ("content", "chance"),
}
#: under these a client may not get what there is, or not learn what has happened
UNKNOWN_AND_HARSH: Final[Mapping[str, Sequence[Any]]] = {
    "cancelled_code": (805, 807),
    "wrong_node_code": (803, 433, 0),
    "failed_data": ("reason", "null"),
    "fresh_addresses": (False, True),
}


@dataclass
class Switches(Unknowns):
    """How the service answers where it is known to vary, or where nobody has written it down.

    Unknown names and values are refused (AttributeError, ValueError): misspelt, they would switch nothing.
    """

    possible = UNKNOWN
    harsh = UNKNOWN_AND_HARSH

    #: ids of tasks and nodes are JSON numbers instead of texts; a task's has 19 digits
    number_ids: bool = False
    #: `taskCostTime` is a number instead of a text: both stand in the documentation
    number_times: bool = False
    #: `data` of /status is the state itself, as documented, or an object with `taskStatus`
    status_data: Literal["text", "object"] = "text"
    #: what `msg` says where `code` is 0
    success: Literal["success", "SUCCESS", ""] = "success"
    #: a task that the service does not know: 807, or 423
    unknown_task_code: Literal[807, 423] = 807
    #: an apiKey that it does not know: unauthorized, no such user, or no such enterprise
    wrong_key_code: Literal[802, 806, 811] = 802
    #: a workflow that it does not know: none of that id, or never saved and run
    wrong_workflow_code: Literal[380, 810] = 380
    #: a node or field that is not in the workflow: as documented, or like all that ComfyUI's validation refuses, or
    #: accepted: the task has failed at once, and `promptTips` says why
    wrong_node_code: Literal[803, 433, 0] = 803
    #: a cancellation that comes too late: refused (measured by others), or accepted without any effect
    late_cancel_code: Literal[817, 0] = 817
    #: what /outputs says of a cancelled task: 805 without a reason, or it is not known any more
    cancelled_code: Literal[805, 807] = 805
    #: what a failed task's `data` is: with the reason, or null
    failed_data: Literal["reason", "null"] = "reason"
    #: so many polls of /outputs after a success still name no file
    empty_polls: int = 0
    #: what `data` is in these
    empty_data: Literal["list", "null"] = "list"
    #: whether several files come in the order of nodes, or the other way round
    outputs_order: Literal["forward", "backward"] = "forward"
    #: each /outputs gives new addresses; else always the same, whose life began with the first
    fresh_addresses: bool = True
    #: an address carries a signature as its query, without which it is not answered
    signed_addresses: bool = True
    #: the file's name in it is Chinese, percent-encoded
    chinese_names: bool = False
    #: what an address answers whose life is over
    expired_status: Literal[403, 404] = 403
    #: how an upload is named: by its content, so that the same file has the same name again, or by chance
    upload_names: Literal["content", "chance"] = "content"
