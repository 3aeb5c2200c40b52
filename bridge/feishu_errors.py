"""Feishu's error codes and what to do about each, as data.

Collected from the documentation of open.feishu.cn, Feishu's own command line tool and public code; the SDK's table is
not used, it takes the rate limit (99991400) for a refusal.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Remedy(Enum):
    """What helps against an error."""

    #: the same call later, a bounded number of times
    RETRY = "retry"
    #: a smaller call
    SPLIT = "split"
    #: a new token, then the same call once
    REFRESH = "refresh"
    #: a person has to do something
    FINAL = "final"


class FeishuError(Exception):
    """A call that Feishu refused or did not answer.

    `code` is Feishu's (0 where none came), `status` HTTP's, `wait` the seconds that the server asked for,
    `outcome_unknown` is True where a write may have happened all the same.
    """

    def __init__(
        self,
        what: str,
        *,
        code: int = 0,
        status: int = 0,
        remedy: Remedy = Remedy.RETRY,
        wait: float | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        self.code, self.status, self.remedy, self.wait, self.outcome_unknown = (
            code,
            status,
            remedy,
            wait,
            outcome_unknown,
        )
        super().__init__(what)


class FeishuNotConfiguredError(FeishuError):
    """Settings are missing."""

    def __init__(self, missing: tuple[str, ...]) -> None:
        self.missing = missing
        super().__init__(
            f"Feishu is not set up: {', '.join(missing)} missing (environment or config.toml)", remedy=Remedy.FINAL
        )


RATE_LIMITED: Final = 99991400

REMEDIES: Final[dict[int, Remedy]] = {
    **dict.fromkeys((99991663, 99991664, 99991665, 99991661, 99991671, 1061005), Remedy.REFRESH),
    **dict.fromkeys((90221, 90227), Remedy.SPLIT),
    **dict.fromkeys(
        # rate limit; internal, busy, processing, loading
        (RATE_LIMITED, 1500, 1663, 1668, 2200, 5000, 55001, 131009, *range(95201, 95210), *range(96401, 96404), 600),
        Remedy.RETRY,
    ),
    **dict.fromkeys((90203, 90217, 90228, 90235, 90242), Remedy.RETRY),  # sheets v2
    **dict.fromkeys((1310217, 1310235, 1310242, 1315201, 1315203, 1315210), Remedy.RETRY),  # sheets v3
    **dict.fromkeys((1061001, 1061006, 1061045), Remedy.RETRY),  # drive
}

_OPEN_PLATFORM: Final = "open.feishu.cn → 开发者后台 → the app"
_SCOPES: Final = (
    f"{_OPEN_PLATFORM} → 权限管理: add the scope that the message names, then publish a new version of the app"
)
_DOCUMENT: Final = "in the sheet: … → 更多 → 添加文档应用, and add the app with the right to edit"

ADVICE: Final[dict[int, str]] = {
    10014: f"FEISHU_APP_SECRET does not belong to FEISHU_APP_ID; copy both anew from {_OPEN_PLATFORM} → 凭证与基础信息",
    99991543: f"FEISHU_APP_ID or FEISHU_APP_SECRET is wrong; copy both anew from {_OPEN_PLATFORM} → 凭证与基础信息",
    **dict.fromkeys((99991672, 99991679, 99991676, 1061073), _SCOPES),
    99991401: f"{_OPEN_PLATFORM} → 安全设置 → IP 白名单: add this machine's address",
    **dict.fromkeys((99991662, 99991673), f"{_OPEN_PLATFORM}: the app is disabled; enable or publish it"),
    **dict.fromkeys((90213, 1310213, 1061004, 91403), _DOCUMENT),
    90214: "FEISHU_SPREADSHEET_TOKEN is wrong: it is the part of the sheet's address after /sheets/",
    90215: "FEISHU_SHEET_NAME names no sheet of this spreadsheet",
    **dict.fromkeys((90218, 1310218), "the cell is protected: let the app edit it, or take the protection off"),
    90227: "too large for one request; a picture may have at most 20 MB",
    90204: "Feishu refused the picture or the request's form",
    90202: "Feishu refused the range or a value",
    1310247: "the spreadsheet holds 4,000 pictures: start a new one",
}


def refused(code: int, message: str, status: int, wait: float | None) -> FeishuError:
    """The error for an answer with `code` ≠ 0 or an HTTP status without a code."""
    remedy = REMEDIES.get(code)
    if remedy is None:
        remedy = Remedy.RETRY if code not in ADVICE and (status >= 500 or status == 429) else Remedy.FINAL
    advice = ADVICE.get(code)
    text = f"Feishu says {code} {message}".strip() if code else f"Feishu answered HTTP {status}: {message}"
    return FeishuError(
        f"{text} → {advice}" if advice else text,
        code=code,
        status=status,
        remedy=remedy,
        wait=wait,
        outcome_unknown=code == 0 and status >= 500,
    )
