"""Tenant access tokens, as Feishu gives them out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from .switches import Switches
from .wire import Answer, ApiError, Kind, Request, Route, json_answer

__all__ = ["TokenService"]

_ASK_WITH_TOKEN: Final = "Please make a request with token attached."
LIFETIME: Final = 7200
#: with less than this left, the service gives a new token; the old one stays valid until it expires
RENEW_BELOW: Final = 1800


class TokenService:
    """Gives out tokens, checks them, revokes them."""

    def __init__(self, app_id: str, app_secret: str, switches: Switches, clock: Callable[[], float]) -> None:
        self.app_id = app_id
        self.app_secret = app_secret
        #: how often a token was asked for, successfully or not
        self.fetches = 0
        #: tokens given out, oldest first
        self.issued: list[str] = []
        self._switches = switches
        self._clock = clock
        self._expires: dict[str, float] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        path = "/open-apis/auth/v3/tenant_access_token/internal"
        return [Route("POST", path, "tenant_access_token", Kind.OPEN, self._internal)]

    def revoke(self, token: str) -> None:
        """From now on this token is invalid, and is not given out again."""
        with self._lock:
            self._expires.pop(token, None)

    def revoke_all(self) -> None:
        """What an administrator's reset of the secret does to the tokens."""
        with self._lock:
            self._expires.clear()

    def check(self, authorization: str | None, invalid_status: int) -> str:
        """The token of a request, or the error that Feishu gives."""
        if not authorization:
            raise ApiError(99991661, f"Missing access token for authorization. {_ASK_WITH_TOKEN}", 400)
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            raise ApiError(99991671, "Invalid access token for authorization: it must start with Bearer.", 400)
        with self._lock:
            valid = self._expires.get(token, 0.0) > self._clock()
        if not valid:
            raise ApiError(99991663, f"Invalid access token for authorization. {_ASK_WITH_TOKEN}", invalid_status)
        return token

    def _internal(self, request: Request) -> Answer:
        asked = request.json()
        with self._lock:
            self.fetches += 1
            if not isinstance(asked.get("app_id"), str) or not isinstance(asked.get("app_secret"), str):
                raise ApiError(10003, "invalid param", 400)
            if asked["app_id"] != self.app_id:
                raise ApiError(10014, "app id not exists", 200)
            if asked["app_secret"] != self.app_secret:
                raise ApiError(self._switches.wrong_secret_code, "app secret invalid", 200)
            token, left = self._current()
        # The token stands at the top level, not in data.
        return json_answer({"code": 0, "msg": "ok", "tenant_access_token": token, "expire": left})

    def _current(self) -> tuple[str, int]:
        newest = self.issued[-1] if self.issued else ""
        left = int(self._expires.get(newest, 0.0) - self._clock())
        if left >= RENEW_BELOW:
            return newest, left
        token = f"t-{self.app_id}-{len(self.issued) + 1}"
        self.issued.append(token)
        self._expires[token] = self._clock() + LIFETIME
        return token, LIFETIME
