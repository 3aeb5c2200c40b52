"""What Feishu refuses or does not answer, as one kind of error: what helps, who is concerned, what a person does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..wording import Wording, wording_of
from .codes import (
    ADVICE,
    MAYBE_DONE,
    RATE_LIMITED,
    REACHES,
    REMEDIES,
    SCOPE_MISSING,
    TOO_LARGE,
    Reach,
    Remedy,
    grant,
    look_up,
    meant,
)
from .envelope import Envelope, envelope_of

__all__ = [
    "FeishuError",
    "FeishuNotConfiguredError",
    "Reach",
    "Remedy",
    "accepted",
    "answered",
    "lacking",
    "refused",
    "wait_of",
]

_NOTHING: Final = Wording("", "")


class FeishuError(Exception):
    """A call that Feishu refused or did not answer.

    `code` is Feishu's (0 where none came) and `message` its own words, `status` HTTP's, `wait` the seconds that the
    server asked for, `outcome_unknown` is True where a write may have happened all the same, `slow` where Feishu may
    still be at work on it. `said` is what happened, `advice` what a person does about it, `grant_link` the page that
    Feishu named for a missing scope.
    """

    def __init__(
        self,
        what: Wording | str,
        *,
        code: int = 0,
        message: str = "",
        status: int = 0,
        remedy: Remedy = Remedy.RETRY,
        reach: Reach = Reach.ROW,
        wait: float | None = None,
        outcome_unknown: bool = False,
        slow: bool = False,
        advice: Wording = _NOTHING,
        grant_link: str = "",
    ) -> None:
        self.code, self.message, self.status, self.remedy, self.reach = code, message, status, remedy, reach
        self.wait, self.outcome_unknown, self.slow = wait, outcome_unknown, slow
        self.said, self.advice, self.grant_link = wording_of(what), advice, grant_link
        super().__init__(self.wording.en)

    @property
    def wording(self) -> Wording:
        """The whole message, in both languages."""
        return self.said + " → " + self.advice if self.advice else self.said

    @property
    def needs_person(self) -> bool:
        """Whether waiting does not help; what is still too large after all splitting stays too large."""
        return self.remedy in (Remedy.FINAL, Remedy.SPLIT)

    @property
    def concerns_all(self) -> bool:
        """Whether a person has to mend the app or the document before anything can be written: asking on for each row
        is of no use."""
        return self.reach in (Reach.DOCUMENT, Reach.APP)

    @property
    def concerns_column(self) -> bool:
        """Whether the other rows would be refused as well where they are written into the same column: it is
        protected, or full. To upload a picture or a video for each of them is of no use."""
        return self.reach is Reach.COLUMN

    @property
    def leave_alone(self) -> bool:
        """Whether no more calls should go out for now: a rate limit, a call that Feishu may still be at work on, or
        what concerns all of them."""
        return (
            self.concerns_all or self.code == RATE_LIMITED or self.status == 429 or (self.wait or 0.0) > 0 or self.slow
        )

    def advised(self, advice: Wording) -> FeishuError:
        """The same error with one more thing that a person may do."""
        self.advice = self.advice + Wording("; ", "；") + advice if self.advice else advice
        self.args = (self.wording.en,)
        return self

    def reworded(self, change: Callable[[str], str]) -> FeishuError:
        """The same error with its texts passed through `change`, for example to hide secrets."""
        self.said, self.advice = self.said.changed(change), self.advice.changed(change)
        self.message, self.grant_link = change(self.message), change(self.grant_link)
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
            reach=Reach.APP,
        )


def refused(
    code: int,
    message: str,
    status: int,
    wait: float | None,
    advice: Mapping[int, Wording] = ADVICE,
    *,
    reaches: Mapping[int, Reach] = REACHES,
    scopes: tuple[str, ...] = (),
    grant_link: str = "",
) -> FeishuError:
    """The error for an answer with `code` ≠ 0 or an HTTP status without a code."""
    remedy = REMEDIES.get(code) or _by_status(code in advice, status)
    if not code:
        said = Wording(f"Feishu answered HTTP {status}: {message}", f"飞书返回 HTTP {status}：{message}")
    else:
        said = Wording(f"Feishu says {code} {message}".strip(), f"飞书返回错误码 {code}：{message or '没有说明'}")
        if scopes:
            names = ", ".join(scopes)
            said += Wording(f" (scopes: {names})", f"（权限：{names}）")
    link = grant_link if code in SCOPE_MISSING else ""
    hint = grant(scopes, link) if link else advice.get(meant(code, message), _NOTHING)
    if not hint and remedy is Remedy.SPLIT:
        hint = TOO_LARGE
    elif not hint and remedy is Remedy.FINAL and code:
        hint = look_up(code)
    return FeishuError(
        said,
        code=code,
        message=message,
        status=status,
        remedy=remedy,
        reach=reaches.get(code, Reach.ROW),
        wait=wait,
        outcome_unknown=code in MAYBE_DONE or (code == 0 and status >= 500),
        advice=hint,
        grant_link=link,
    )


def _by_status(known: bool, status: int) -> Remedy:
    """For a code that the table has not, or none at all."""
    if status == 413:  # the front door, which does not look into the body
        return Remedy.SPLIT
    return Remedy.RETRY if not known and (status >= 500 or status == 429) else Remedy.FINAL


def accepted(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    advice: Mapping[int, Wording] = ADVICE,
    *,
    reaches: Mapping[int, Reach] = REACHES,
    done: frozenset[int] = frozenset(),
) -> Envelope:
    """An answer that says yes, by its body alone: many errors come as HTTP 200. Codes in `done` count as yes.

    Raises FeishuError, whatever has come.
    """
    found = envelope_of(content)
    if found is None:
        raise _unreadable(status, headers, advice)
    if found.code != 0 and found.code not in done:
        raise refused(
            found.code,
            found.message,
            status,
            wait_of(headers),
            advice,
            reaches=reaches,
            scopes=found.scopes,
            grant_link=found.grant_link,
        )
    if not found.well_formed:
        raise lacking()
    return found


def answered(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    advice: Mapping[int, Wording] = ADVICE,
    *,
    reaches: Mapping[int, Reach] = REACHES,
    done: frozenset[int] = frozenset(),
) -> dict[str, Any]:
    """The `data` of an answer that says yes; raises FeishuError for every other one."""
    return accepted(status, headers, content, advice, reaches=reaches, done=done).data


def lacking(operation: str = "") -> FeishuError:
    """A yes without what was asked for. What it was about may have happened."""
    to = Wording(f" to {operation}", f"对 {operation} ") if operation else Wording("", "")
    return FeishuError(
        Wording(f"Feishu's answer{to.en} lacks what it should have", f"飞书{to.zh}的回应缺少应有的内容"),
        outcome_unknown=True,
    )


def _unreadable(status: int, headers: Mapping[str, str], advice: Mapping[int, Wording]) -> FeishuError:
    if status == 413:
        return FeishuError(
            Wording("too large for Feishu's front door (HTTP 413)", "太大，飞书的入口不接受（HTTP 413）"),
            status=status,
            remedy=Remedy.SPLIT,
            advice=TOO_LARGE,
        )
    if status >= 500 or status == 429:
        return refused(0, "no JSON", status, wait_of(headers), advice)
    return FeishuError(
        Wording(f"Feishu's answer cannot be read (HTTP {status})", f"飞书的回应无法读取（HTTP {status}）"),
        status=status,
        outcome_unknown=True,
        advice=Wording(
            "if that stays so, see FEISHU_DOMAIN, and whether a proxy answers in its place",
            "如果一直这样，请检查 FEISHU_DOMAIN，以及是否被代理拦截",
        ),
    )


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait. Header names come in any case."""
    found = {name.lower(): value for name, value in headers.items()}
    for name in ("x-ogw-ratelimit-reset", "retry-after"):
        try:
            return max(0.0, float(found[name]))
        except (KeyError, ValueError):
            continue
    return None
