"""What can go wrong with Feishu, on demand."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, TypeAlias

from ..serving import fault_plan

__all__ = ["RETRYABLE", "Fault", "FaultPlan", "Rule"]


class Fault(str, enum.Enum):
    """A way to fail. "Done" means that the call has had its effect all the same."""

    #: 99991400 as HTTP 429, with the wait in `x-ogw-ratelimit-reset`; not done
    RATE_LIMIT_429 = "RATE_LIMIT_429"
    #: the same as HTTP 400, as some older endpoints answer
    RATE_LIMIT_400 = "RATE_LIMIT_400"
    #: a gateway's HTML page instead of JSON; not done
    HTML_502 = "HTML_502"
    #: the same, and done
    HTML_502_AFTER = "HTML_502_AFTER"
    #: the connection is cut; not done
    RESET_BEFORE = "RESET_BEFORE"
    #: done, then the connection is cut without an answer
    RESET_AFTER = "RESET_AFTER"
    #: done, then half of the answer and the connection is cut
    HALF_BODY = "HALF_BODY"
    #: done at once, answered after `seconds`
    SLOW = "SLOW"
    #: done and answered after `seconds`; the document is busy that long
    SLOW_BEFORE = "SLOW_BEFORE"
    #: the token of this call is revoked: 99991663 as HTTP 400, as in production
    TOKEN_REVOKED_400 = "TOKEN_REVOKED_400"
    #: the same as HTTP 200, which was seen as well
    TOKEN_REVOKED_200 = "TOKEN_REVOKED_200"
    #: the token is revoked at once, and the call is told so only after `seconds`, when there may be a newer one
    TOKEN_REVOKED_LATE = "TOKEN_REVOKED_LATE"
    #: someone else is writing to the document
    BUSY_90235 = "BUSY_90235"
    BUSY_90217 = "BUSY_90217"
    #: the document is still loading
    LOADING_90242 = "LOADING_90242"
    INTERNAL_90203 = "INTERNAL_90203"
    #: the first half of the ranges is written, then 90203: nothing says that a batch is atomic
    HALF_BATCH = "HALF_BATCH"
    #: an internal error with a JSON body; not done
    HTTP_500_JSON = "HTTP_500_JSON"
    #: another upload is in the way (drive)
    CONTENTION_1061045 = "CONTENTION_1061045"
    #: no room: 90226 from sheets, 1061101 from drive
    FULL = "FULL"
    #: the request of a write, or the answer of a read, is too large
    TOO_LARGE_90227 = "TOO_LARGE_90227"
    TOO_LARGE_90221 = "TOO_LARGE_90221"
    #: what only a person can mend: the app is disabled, does not admit this address, lacks the scope (with
    #: `permission_violations`), or was not added to the document or folder (90213, 1310213, 1061004)
    APP_DISABLED_99991662 = "APP_DISABLED_99991662"
    IP_DENIED_99991401 = "IP_DENIED_99991401"
    SCOPE_MISSING_99991672 = "SCOPE_MISSING_99991672"
    NOT_ADDED = "NOT_ADDED"
    #: an upload in parts whose day is over
    UPLOAD_EXPIRED_1061021 = "UPLOAD_EXPIRED_1061021"
    #: someone else is writing to the table (bitable)
    WRITE_CONFLICT_1254291 = "WRITE_CONFLICT_1254291"
    #: the custom bot has too much to do: at full and half hours
    BOT_LIMITED_11232 = "BOT_LIMITED_11232"
    #: the month's calls are used up: HTTP 429, and waiting does not help
    QUOTA_99991403 = "QUOTA_99991403"
    #: a write changes nothing; meets a protected cell; finds no room for one more cell
    UNCHANGED_90216 = "UNCHANGED_90216"
    PROTECTED_90218 = "PROTECTED_90218"
    CELLS_90219 = "CELLS_90219"
    #: the front door's own page about a body that is too large
    HTML_413 = "HTML_413"
    #: what the list of codes says to try again: anywhere, in the wiki (131001), in drive (the last two)
    AGAIN_1503 = "AGAIN_1503"
    AGAIN_1642 = "AGAIN_1642"
    AGAIN_96001 = "AGAIN_96001"
    AGAIN_96002 = "AGAIN_96002"
    AGAIN_131001 = "AGAIN_131001"
    AGAIN_1064230 = "AGAIN_1064230"
    AGAIN_1066002 = "AGAIN_1066002"


#: what a client should get over by itself, without waiting long
RETRYABLE: Final = (
    Fault.RATE_LIMIT_429,
    Fault.RATE_LIMIT_400,
    Fault.HTML_502,
    Fault.HTML_502_AFTER,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.HALF_BODY,
    Fault.TOKEN_REVOKED_400,
    Fault.TOKEN_REVOKED_200,
    Fault.BUSY_90235,
    Fault.BUSY_90217,
    Fault.LOADING_90242,
    Fault.INTERNAL_90203,
    Fault.HALF_BATCH,
    Fault.HTTP_500_JSON,
    Fault.CONTENTION_1061045,
    Fault.AGAIN_1503,
    Fault.AGAIN_1642,
    Fault.AGAIN_96001,
    Fault.AGAIN_96002,
    Fault.AGAIN_131001,
    Fault.AGAIN_1064230,
    Fault.AGAIN_1066002,
)


def _writes(operation: str, path: str) -> bool:
    """Whether it writes to a sheet."""
    return "/sheets/v2/" in path and not operation.endswith("_get")


_OPEN: Final = ("tenant_access_token", "bot_hook")
#: where a fault can strike, by operation and path; the others can strike anywhere
_WHERE: Final[dict[Fault, Callable[[str, str], bool]]] = {
    **dict.fromkeys(
        (Fault.BUSY_90235, Fault.BUSY_90217, Fault.LOADING_90242, Fault.INTERNAL_90203),
        lambda operation, path: "/sheets/" in path,
    ),
    **dict.fromkeys(
        (
            Fault.TOKEN_REVOKED_400,
            Fault.TOKEN_REVOKED_200,
            Fault.TOKEN_REVOKED_LATE,
            Fault.SCOPE_MISSING_99991672,
            Fault.QUOTA_99991403,
            Fault.AGAIN_1503,
            Fault.AGAIN_1642,
            Fault.AGAIN_96001,
            Fault.AGAIN_96002,
        ),
        lambda operation, path: operation not in _OPEN,
    ),
    **dict.fromkeys((Fault.UNCHANGED_90216, Fault.PROTECTED_90218, Fault.CELLS_90219), _writes),
    Fault.AGAIN_131001: lambda operation, path: "/wiki/" in path,
    **dict.fromkeys((Fault.AGAIN_1064230, Fault.AGAIN_1066002), lambda operation, path: "/drive/" in path),
    **dict.fromkeys(
        (Fault.APP_DISABLED_99991662, Fault.IP_DENIED_99991401), lambda operation, path: operation != "bot_hook"
    ),
    Fault.HALF_BATCH: lambda operation, path: operation == "values_batch_update",
    Fault.CONTENTION_1061045: lambda operation, path: "/drive/" in path and "upload" in operation,
    **dict.fromkeys((Fault.FULL, Fault.NOT_ADDED), lambda operation, path: "/sheets/" in path or "/drive/" in path),
    Fault.TOO_LARGE_90221: lambda operation, path: operation in ("values_get", "values_batch_get"),
    Fault.TOO_LARGE_90227: _writes,
    Fault.UPLOAD_EXPIRED_1061021: lambda operation, path: operation.endswith(("upload_part", "upload_finish")),
    Fault.WRITE_CONFLICT_1254291: lambda operation, path: "/bitable/" in path,
    Fault.BOT_LIMITED_11232: lambda operation, path: operation == "bot_hook",
}


class FaultPlan(fault_plan.FaultPlan[Fault]):
    """The faults to come; by chance those that a client should get over by itself."""

    kinds = Fault
    by_chance = RETRYABLE

    def possible(self, kind: Fault, operation: str, path: str) -> bool:
        where = _WHERE.get(kind)
        return where is None or where(operation, path)


Rule: TypeAlias = fault_plan.Rule[Fault]
