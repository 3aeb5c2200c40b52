"""What may go wrong between us and who renders. An engine's author raises these; everything else is "no answer"."""

from __future__ import annotations

from ..wording import Wording, wording_of


class EngineError(Exception):
    """The engine did not do what was asked; whether it has done something else is not known. `wording`: why."""

    def __init__(self, reason: Wording | str) -> None:
        self.wording = wording_of(reason)
        super().__init__(self.wording.en)

    @property
    def reason(self) -> str:
        """In English."""
        return self.wording.en


class UnreachableError(EngineError, ConnectionError):
    """No answer: whether the request was carried out is not known."""


class NotSentError(UnreachableError):
    """Surely nothing was carried out: there was no connection, or a person has to mend something for all tasks first
    (a key, an account, a workflow)."""


class RefusedError(EngineError, ValueError):
    """The engine says no, and would say so again; `wording` is its own words."""


class BusyError(EngineError):
    """The engine takes nothing now: surely not accepted, and worth another try.

    `retry_after`: seconds that it asks for; None where it does not say.
    """

    def __init__(self, reason: Wording | str = "it takes no more tasks now", retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


def seconds_in(retry_after: str | None) -> float | None:
    """What a service's header Retry-After asks for; None where that is no number."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None


class RenderLimitError(EngineError):
    """Not sent: this run has sent `limit` renders, as many as WFRECOVERY_MAX_RENDERS allows. The task stays entered,
    its row as it is, and the next run sends it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            Wording(
                f"not sent: this run has sent {limit}, as many as WFRECOVERY_MAX_RENDERS allows → the next run goes "
                "on, or set it higher",
                f"未提交：本次运行已提交 {limit} 个，达到 WFRECOVERY_MAX_RENDERS 的上限 → 下次运行会继续，或调高上限",
            )
        )


class FileUnavailableError(EngineError):
    """A result file cannot be had whole, and asking again would not help."""
