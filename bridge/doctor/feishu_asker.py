"""How `doctor` asks Feishu: past the client, without its settings and its waits, and noting the time that an answer
tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
from urllib3.exceptions import HTTPError

from ..feishu.answer import read_bounded, token_in
from ..feishu.envelope import Envelope
from ..feishu.errors import FeishuError, Remedy, accepted, lacking
from ..redact import redact
from ..settings import Settings

#: Seconds to connect, and between two bytes.
_TIMEOUT: Final = (10.0, 30.0)
#: Seconds before a question is asked again that Feishu was too busy to answer.
_WAITS: Final = (0.5, 1.5)


class Asker:
    """Asks, and notes how far the clocks are apart. Raises FeishuError, or what requests raises."""

    def __init__(self, settings: Settings, session: requests.Session, now: Callable[[], float]) -> None:
        self._settings, self._session, self._now = settings, session, now
        self.token = ""
        #: seconds that this computer is ahead of Feishu; None before the first answer
        self.ahead: float | None = None

    def fetch_token(self) -> None:
        """With the credentials of the settings."""
        body = {"app_id": self._settings.feishu_app_id, "app_secret": self._settings.feishu_app_secret}
        self.token, _ = token_in(self.post_token(self._settings.feishu_domain, body))

    def post_token(self, domain: str, body: Mapping[str, str]) -> Envelope:
        """The token call at any domain."""
        return self._answer("POST", f"{domain}/open-apis/auth/v3/tenant_access_token/internal", json=body)

    def get(self, path: str, **query: str) -> Mapping[str, Any]:
        """The `data` of a GET."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return self._answer("GET", self._settings.feishu_domain + path, params=query, headers=headers).data

    def _answer(self, method: str, url: str, **options: Any) -> Envelope:
        for wait in (*_WAITS, None):
            try:
                return self._ask(method, url, **options)
            except FeishuError as error:
                busy = error.remedy is Remedy.RETRY and (error.code or error.status >= 500 or error.status == 429)
                if wait is None or not busy:
                    raise error.reworded(redact) from None
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _ask(self, method: str, url: str, **options: Any) -> Envelope:
        try:
            answer = read_bounded(self._session.request(method, url, timeout=_TIMEOUT, stream=True, **options))
        except requests.RequestException:
            raise
        except (HTTPError, ValueError):  # sent on to what is no address
            raise lacking() from None
        self._note_clock(answer.headers.get("Date"))
        return accepted(answer.status_code, answer.headers, answer.content)

    def _note_clock(self, date: str | None) -> None:
        try:
            self.ahead = self._now() - parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return
