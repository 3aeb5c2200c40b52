"""How `doctor` asks Feishu: past the client, for the bare refusal matters here, and the time that an answer tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests

from ..redact import redact
from ..settings import Settings
from ..wording import Wording

#: Seconds to connect, and between two bytes.
_TIMEOUT: Final = (10.0, 30.0)
#: Seconds before a question is asked again that Feishu was too busy to answer.
_WAITS: Final = (0.5, 1.5)

#: what a call is refused with that needs a scope which the app has not
SCOPE_MISSING: Final = frozenset({99991672, 99991676, 99991679})


class Refusal(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """Feishu's answer with a code ≠ 0, or one that is none of its API (code 0)."""

    def __init__(self, code: int, message: str, status: int) -> None:
        self.code, self.message, self.status = code, redact(message), status
        super().__init__(f"{code} {message}")

    @property
    def wording(self) -> Wording:
        if self.code:
            return Wording(f"Feishu says {self.code} {self.message}", f"飞书返回 {self.code} {self.message}")
        return Wording(f"the answer is not Feishu's (HTTP {self.status})", f"响应不是飞书的（HTTP {self.status}）")


class Asker:
    """Asks, and notes how far the clocks are apart."""

    def __init__(self, settings: Settings, session: requests.Session, now: Callable[[], float]) -> None:
        self._settings, self._session, self._now = settings, session, now
        self.token = ""
        #: seconds that this computer is ahead of Feishu; None before the first answer
        self.ahead: float | None = None

    def fetch_token(self) -> None:
        """Raises Refusal, or what requests raises."""
        body = {"app_id": self._settings.feishu_app_id, "app_secret": self._settings.feishu_app_secret}
        self.token = str(self.post_token(self._settings.feishu_domain, body)["tenant_access_token"])

    def post_token(self, domain: str, body: Mapping[str, str]) -> Mapping[str, Any]:
        """The token call at any domain."""
        return self._answer("POST", f"{domain}/open-apis/auth/v3/tenant_access_token/internal", json=body)

    def get(self, path: str, **query: str) -> Mapping[str, Any]:
        """The `data` of a GET; raises Refusal, or what requests raises."""
        answer = self._answer(
            "GET",
            self._settings.feishu_domain + path,
            params=query,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        data = answer.get("data")
        return data if isinstance(data, dict) else {}

    def _answer(self, method: str, url: str, **options: Any) -> Mapping[str, Any]:
        for wait in (*_WAITS, None):
            response = self._session.request(method, url, timeout=_TIMEOUT, **options)
            self._note_clock(response.headers.get("Date"))
            if wait is None or (response.status_code != 429 and response.status_code < 500):
                break
            time.sleep(wait)
        try:
            answer = response.json()
            code = int(answer["code"])
        except (ValueError, KeyError, TypeError):
            raise Refusal(0, response.reason or "", response.status_code) from None
        if code != 0:
            raise Refusal(code, _message(answer), response.status_code)
        return dict(answer)

    def _note_clock(self, date: str | None) -> None:
        try:
            self.ahead = self._now() - parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return


def _message(answer: Mapping[str, Any]) -> str:
    error = answer.get("error")
    violations = error.get("permission_violations") if isinstance(error, dict) else None
    scopes = [str(item.get("subject")) for item in violations or () if isinstance(item, dict)]
    return str(answer.get("msg") or "") + (f" ({', '.join(scopes)})" if scopes else "")
