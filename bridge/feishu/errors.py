"""Feishu's error codes and what to do about each, as data.

Collected from the documentation of open.feishu.cn, Feishu's own command line tool and public code; the SDK's table is
not used, it takes the rate limit (99991400) for a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from ..wording import Wording, wording_of


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
    `outcome_unknown` is True where a write may have happened all the same, `slow` where Feishu may still be at work on
    it. `wording` is the message in both languages.
    """

    def __init__(
        self,
        what: Wording | str,
        *,
        code: int = 0,
        status: int = 0,
        remedy: Remedy = Remedy.RETRY,
        wait: float | None = None,
        outcome_unknown: bool = False,
        slow: bool = False,
    ) -> None:
        self.code, self.status, self.remedy, self.wait = code, status, remedy, wait
        self.outcome_unknown, self.slow = outcome_unknown, slow
        self.wording = wording_of(what)
        super().__init__(self.wording.en)

    @property
    def needs_person(self) -> bool:
        """Whether waiting does not help; what is still too large after all splitting stays too large."""
        return self.remedy in (Remedy.FINAL, Remedy.SPLIT)

    @property
    def concerns_all(self) -> bool:
        """Whether a person has to mend the app before anything can be written: asking on for each row is of no use."""
        return self.code in _FOR_ALL

    @property
    def leave_alone(self) -> bool:
        """Whether the next call should wait as well: a rate limit, or a call that Feishu may still be at work on."""
        return self.code == RATE_LIMITED or self.status == 429 or (self.wait or 0.0) > 0 or self.slow

    def reworded(self, change: Callable[[str], str]) -> FeishuError:
        """The same error with its texts passed through `change`, for example to hide secrets."""
        self.wording = self.wording.changed(change)
        self.args = (self.wording.en,)
        return self


class FeishuNotConfiguredError(FeishuError):
    """Settings are missing."""

    def __init__(self, missing: tuple[str, ...]) -> None:
        self.missing = missing
        names = ", ".join(missing)
        super().__init__(
            Wording(
                f"Feishu is not set up: {names} missing (environment or config.toml)",
                f"飞书还没有设置好：缺少 {names}（环境变量或 config.toml）",
            ),
            remedy=Remedy.FINAL,
        )


RATE_LIMITED: Final = 99991400
#: The app lacks a scope, is disabled, or is refused by its address. Not 90213, which may be said of one protected cell.
_FOR_ALL: Final = frozenset({99991672, 99991679, 99991676, 99991401, 99991662, 99991673})
#: What answers a token that is none of a spreadsheet (which may be one of a wiki's node), or of one that was deleted.
NO_SPREADSHEET: Final = frozenset({90214, 1310214, 1310249})

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
    11232: Remedy.RETRY,  # a group's custom bot has too much to do
}

_APP: Final = Wording("open.feishu.cn → 开发者后台 → the app", "open.feishu.cn → 开发者后台 → 该应用")
_CREDENTIALS: Final = _APP + " → 凭证与基础信息"
_SCOPES: Final = _APP + Wording(
    " → 权限管理: add the scope that the message names, then publish a new version of the app",
    " → 权限管理：开通消息里写的权限，然后发布应用的新版本",
)
_DOCUMENT: Final = Wording(
    "in the sheet: … → 更多 → 添加文档应用, and add the app with the right to edit",
    "在表格里：… → 更多 → 添加文档应用，添加该应用并给编辑权限",
)

ADVICE: Final[dict[int, Wording]] = {
    10014: Wording(
        "FEISHU_APP_SECRET does not belong to FEISHU_APP_ID; copy both anew from ",
        "FEISHU_APP_SECRET 与 FEISHU_APP_ID 不匹配；请重新复制这两项：",
    )
    + _CREDENTIALS,
    **dict.fromkeys(
        (99991543, 10003),
        Wording(
            "FEISHU_APP_ID or FEISHU_APP_SECRET is wrong; copy both anew from ",
            "FEISHU_APP_ID 或 FEISHU_APP_SECRET 不对；请重新复制这两项：",
        )
        + _CREDENTIALS,
    ),
    **dict.fromkeys((99991672, 99991679, 99991676, 1061073), _SCOPES),
    99991401: _APP
    + Wording(" → 安全设置 → IP 白名单: add this machine's address", " → 安全设置 → IP 白名单：加入本机的地址"),
    **dict.fromkeys(
        (99991662, 99991673),
        _APP + Wording(": the app is disabled; enable or publish it", "：应用已停用；请启用或重新发布"),
    ),
    **dict.fromkeys((90213, 1310213, 1061004, 91403), _DOCUMENT),
    **dict.fromkeys(
        NO_SPREADSHEET,
        Wording(
            "FEISHU_SPREADSHEET_TOKEN names no spreadsheet: it is the part of the sheet's address after /sheets/ "
            "(or /wiki/, which needs the scope wiki:wiki:readonly as well)",
            "FEISHU_SPREADSHEET_TOKEN 找不到表格：它是表格网址里 /sheets/ 后面的那一段"
            "（也可以是 /wiki/ 后面的，但还需要权限 wiki:wiki:readonly）",
        ),
    ),
    90215: Wording(
        "FEISHU_SHEET_NAME names no sheet of this spreadsheet", "FEISHU_SHEET_NAME 在这个表格里没有对应的工作表"
    ),
    **dict.fromkeys(
        (90218, 1310218),
        Wording(
            "the cell is protected: let the app edit it, or take the protection off",
            "单元格受保护：请允许该应用编辑，或取消保护",
        ),
    ),
    **dict.fromkeys(
        (90219, 90226),
        Wording(
            "the spreadsheet is full: delete rows or pictures, or start a new one",
            "表格已满：请删除一些行或图片，或新建一个表格",
        ),
    ),
    90227: Wording("too large for one request; a picture may have at most 20 MB", "一次请求太大；图片最多 20 MB"),
    90204: Wording("Feishu refused the picture or the request's form", "飞书不接受这张图片或这个请求的格式"),
    90202: Wording("Feishu refused the range or a value", "飞书不接受这个范围或内容"),
    1310247: Wording("the spreadsheet holds 4,000 pictures: start a new one", "表格里已有 4000 张图片：请新建一个表格"),
    **dict.fromkeys(
        (1061061, 1061101),
        Wording(
            "no room is left in Feishu's Drive: make room or ask the administrator",
            "飞书云空间已满：请清理或联系管理员",
        ),
    ),
    1061043: Wording("the file is too large for Feishu's Drive", "文件太大，飞书云空间不接受"),
}


def refused(
    code: int, message: str, status: int, wait: float | None, advice: Mapping[int, Wording] = ADVICE
) -> FeishuError:
    """The error for an answer with `code` ≠ 0 or an HTTP status without a code."""
    remedy = REMEDIES.get(code)
    if remedy is None:
        remedy = Remedy.RETRY if code not in advice and (status >= 500 or status == 429) else Remedy.FINAL
    if code:
        said = Wording(f"Feishu says {code} {message}".strip(), f"飞书返回 {code} {message}".strip())
    else:
        said = Wording(f"Feishu answered HTTP {status}: {message}", f"飞书返回 HTTP {status}：{message}")
    hint = advice.get(code)
    return FeishuError(
        said + " → " + hint if hint else said,
        code=code,
        status=status,
        remedy=remedy,
        wait=wait,
        outcome_unknown=code == 0 and status >= 500,
    )


def answered(
    status: int, headers: Mapping[str, str], content: bytes, advice: Mapping[int, Wording] = ADVICE
) -> dict[str, Any]:
    """The `data` of an answer, by its body alone: many errors come as HTTP 200. Raises FeishuError."""
    try:
        answer = json.loads(content)
        code, message = int(answer["code"]), str(answer.get("msg") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        if status >= 500 or status == 429:
            raise refused(0, "no JSON", status, wait_of(headers), advice) from None
        what = Wording(
            f"Feishu's answer cannot be read (HTTP {status}) → if that stays so, see FEISHU_DOMAIN, and whether "
            "a proxy answers in its place",
            f"飞书的回应无法读取（HTTP {status}）→ 如果一直这样，请检查 FEISHU_DOMAIN，以及是否被代理拦截",
        )
        raise FeishuError(what, status=status, outcome_unknown=True) from None
    if code == 0:
        return answer.get("data") or {}
    raise refused(code, message + _missing_scopes(answer.get("error")), status, wait_of(headers), advice)


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait. Header names come in any case."""
    found = {name.lower(): value for name, value in headers.items()}
    for name in ("x-ogw-ratelimit-reset", "retry-after"):
        try:
            return max(0.0, float(found[name]))
        except (KeyError, ValueError):
            continue
    return None


def _missing_scopes(error: Any) -> str:
    found = error.get("permission_violations") if isinstance(error, Mapping) else None
    scopes = [str(item.get("subject")) for item in found or () if isinstance(item, Mapping)]
    return f" (scopes: {', '.join(scopes)})" if scopes else ""
