"""The custom bot of a group in the stand-in: an address, a signature and a few ways to be refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from typing import Any, Final

from .switches import Limits, Switches
from .wire import Answer, ApiError, Kind, RateWindows, Request, Route, json_answer

__all__ = ["BotApi"]

#: what the bot says where it refuses; all of it comes as HTTP 200
_SAYS: Final = {
    9499: "Bad Request",
    11232: "frequency limited psm[lark.oapi.app_platform_runtime]appID[1500]",
    19001: "param invalid: incoming webhook access token invalid",
    19021: "sign match fail or timestamp is not within one hour from current time",
    19022: "Ip Not Allowed",
    19024: "Key Words Not Found",
}


class BotApi:
    """A custom bot of a group: its address and its signature are all it knows about the sender."""

    MAX_BODY: Final = 20 * 1024
    CLOCK_DIFFERENCE: Final = 3600

    def __init__(self, hook: str, secret: str, limits: Limits, switches: Switches, clock: Callable[[], float]) -> None:
        #: the messages that arrived
        self.messages: list[dict[str, Any]] = []
        self._hook = hook
        self._secret = secret
        self._limits = limits
        self._switches = switches
        self._clock = clock
        self._windows = RateWindows(clock)
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        return [Route("POST", "/open-apis/bot/v2/hook/:hook", "bot_hook", Kind.OPEN, self._receive)]

    def _receive(self, request: Request) -> Answer:
        try:
            message = request.json()
        except ApiError:
            message = {}
        with self._lock:
            refused = self._refused(request, message)
            if refused:
                return json_answer({"code": refused, "msg": _SAYS[refused], "data": {}})
            self.messages.append(message)
        old = {"StatusCode": 0, "StatusMessage": "success"}
        if self._switches.bot_old_answer:
            return json_answer(old)
        return json_answer({"code": 0, "msg": "success", "data": {}, "Extra": None, **old})

    def _refused(self, request: Request, message: dict[str, Any]) -> int:
        """The code of the first thing that is wrong; 0 if nothing is."""
        if request.params["hook"] != self._hook:
            return 19001
        if not self._switches.bot_ip_allowed:
            return 19022
        if len(request.body) > self.MAX_BODY or not {"content", "card"} & message.keys() or "msg_type" not in message:
            return 9499
        if not self._signed(message):
            return 19021
        if self._switches.bot_keyword not in json.dumps(message, ensure_ascii=False):
            return 19024
        in_second = self._windows.admit("second", self._limits.messages_per_second)
        return 0 if in_second and self._windows.admit("minute", self._limits.messages_per_minute, 60.0) else 11232

    def _signed(self, message: dict[str, Any]) -> bool:
        if not self._secret:
            return True
        timestamp = str(message.get("timestamp", ""))
        now = self._clock() + self._switches.date_shift
        if not timestamp.isdigit() or abs(now - int(timestamp)) > self.CLOCK_DIFFERENCE:
            return False
        # The secret is part of the key, and the message is empty: that is how Feishu defines it.
        digest = hmac.new(f"{timestamp}\n{self._secret}".encode(), b"", hashlib.sha256).digest()
        return hmac.compare_digest(base64.b64encode(digest), str(message.get("sign", "")).encode())
