"""The stand-in without its sockets: from a request to an answer, through the front door, faults and the call itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .addresses import FILES, Addresses
from .api import Api
from .faults import CODES, Fault, FaultPlan, Rule
from .switches import Switches
from .wire import MESSAGES, Answer, RefusalError, Request, envelope, html

__all__ = ["Call", "Service"]

#: a program may send the real service's name itself, as the documentation asks for
_REAL_HOSTS: Final = ("www.runninghub.cn", "www.runninghub.ai")


@dataclass
class Call:
    """One request, as it was answered."""

    name: str
    #: HTTP status; 0: not answered
    status: int = 0
    #: None: there was none in the answer
    code: int | None = None
    fault: str = ""


class Service:
    """Answers requests, and keeps a list of them."""

    def __init__(self, api: Api, addresses: Addresses, faults: FaultPlan, switches: Switches) -> None:
        self.api = api
        self.calls: list[Call] = []
        self._addresses = addresses
        self._faults = faults
        self._switches = switches
        self._lock = threading.Lock()

    def counts(self) -> Counter[str]:
        """How often each call was made, however that ended."""
        with self._lock:
            return Counter(call.name for call in self.calls)

    def answer(self, request: Request) -> Answer:
        """Carry a request out, or fail as planned."""
        if self._wrong_host(request):
            return html(404, "404 Not Found")
        name, work = self._route(request)
        call = Call(name)
        with self._lock:
            self.calls.append(call)
        rule = self._faults.pick(name)
        answer = (rule and _instead(rule)) or work()
        if rule is not None:
            call.fault = rule.kind.value
            answer = _spoilt(answer, rule)
        call.status = 0 if answer.cut in ("nothing", "hang") else answer.status
        call.code = answer.code if call.status else None
        return answer

    def _wrong_host(self, request: Request) -> bool:
        host = request.headers.get("Host", "")
        return host not in (*_REAL_HOSTS, self.api.base_url.removeprefix("http://"))

    def _route(self, request: Request) -> tuple[str, Callable[[], Answer]]:
        if request.method == "GET" and request.segments[0] == FILES:
            return "download", lambda: self._addresses.fetch(request)
        name, handler = self.api.calls.get(request.path, ("", None))
        if request.method != "POST" or handler is None:
            # The service's own answer to a path that is misspelt.
            return "unknown", lambda: envelope(412, MESSAGES[412], None)
        return name, lambda: self._call(handler, request)

    def _call(self, handler: Callable[[Request], Any], request: Request) -> Answer:
        try:
            return envelope(0, self._switches.success, handler(request))
        except RefusalError as refusal:
            return envelope(refusal.code, str(refusal), refusal.data)


def _instead(rule: Rule) -> Answer | None:
    """What comes instead of the call's own answer; None: the call is carried out."""
    match rule.kind:
        case Fault.HTML_502:
            return html(502, "502 Bad Gateway")
        case Fault.HTML_200:
            return html(200, "Please sign in to the network")
        case Fault.HTTP_429:
            return html(429, "429 Too Many Requests")
        case Fault.EXPIRED_403:
            return html(403, "the address has expired")
        case Fault.GONE_404:
            return html(404, "404 Not Found")
        case Fault.RESET_BEFORE:
            return Answer(200, b"", cut="nothing")
        case Fault.HANG_BEFORE:
            return Answer(200, b"", cut="hang")
        case Fault.FAILED_805:
            return envelope(
                805, MESSAGES[805], {"failedReason": {"exception_message": "planned", "node_name": "Planned"}}
            )
        case kind if kind in CODES:
            return envelope(CODES[kind], MESSAGES[CODES[kind]], None)
        case _:
            return None


def _spoilt(answer: Answer, rule: Rule) -> Answer:
    """The answer of a call that was carried out, as it arrives."""
    match rule.kind:
        case Fault.HTML_502_AFTER:
            return html(502, "502 Bad Gateway")
        case Fault.HTML_200_AFTER:
            return html(200, "Please sign in to the network")
        case Fault.NULL_DATA:
            return envelope(0, "success", None) if answer.code == 0 else answer
        case Fault.RESET_AFTER:
            answer.cut = "nothing"
        case Fault.HANG_AFTER:
            answer.cut = "hang"
        case Fault.HALF_BODY:
            answer.cut = "half"
        case Fault.NO_LENGTH:
            answer.length = False
        case Fault.NO_LENGTH_HALF:
            answer.cut, answer.length = "half", False
        case Fault.SLOW:
            answer.delay = rule.seconds
    return answer
