"""The stand-in without its sockets: from a request to an answer, through faults, token, scope, rate and turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from .faults import Fault, FaultPlan, Rule
from .gate import Gate
from .wire import (
    Answer,
    ApiError,
    Kind,
    Request,
    Route,
    json_answer,
    quota_used_up,
    rate_limited,
    too_large_for_the_front_door,
)

__all__ = ["Call", "FeishuService", "Visit"]

_HTML_502: Final = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502 Bad Gateway</body>\r\n</html>\r\n"
)
_ERRORS: Final = {
    Fault.BUSY_90235: (90235, "Retry later"),
    Fault.BUSY_90217: (90217, "TooManyRequest"),
    Fault.LOADING_90242: (90242, "mix state"),
    Fault.INTERNAL_90203: (90203, "Fail"),
    Fault.HALF_BATCH: (90203, "Fail"),
    Fault.TOO_LARGE_90227: (90227, "TooLargeRequest"),
    Fault.TOO_LARGE_90221: (90221, "TooLargeResponse"),
    Fault.UNCHANGED_90216: (90216, "no change"),
    Fault.PROTECTED_90218: (90218, "locked cell"),
    Fault.CELLS_90219: (90219, "cell excess"),
}
#: code, message and HTTP status of the other faults; that of the codes to try again is a guess
_OTHER_ERRORS: Final = {
    Fault.HTTP_500_JSON: (5000, "internal error", 500),
    Fault.CONTENTION_1061045: (1061045, "resource contention occurred, please retry", 200),
    Fault.APP_DISABLED_99991662: (99991662, "app not in use", 400),
    Fault.IP_DENIED_99991401: (99991401, "ip 127.0.0.1 is denied by app setting", 400),
    Fault.UPLOAD_EXPIRED_1061021: (1061021, "upload id expired", 400),
    Fault.WRITE_CONFLICT_1254291: (1254291, "Write conflict", 200),
    Fault.BOT_LIMITED_11232: (11232, "frequency limited psm[lark.oapi.app_platform_runtime]appID[1500]", 200),
    Fault.AGAIN_1503: (1503, "internal error, try again", 200),
    Fault.AGAIN_1642: (1642, "internal error, try again", 200),
    Fault.AGAIN_96001: (96001, "service busy, try again", 200),
    Fault.AGAIN_96002: (96002, "service busy, try again", 200),
    Fault.AGAIN_131001: (131001, "rpc fail", 400),
    Fault.AGAIN_1064230: (1064230, "locked for data migration", 400),
    Fault.AGAIN_1066002: (1066002, "concurrency error, please retry", 400),
}
#: the twins in v3, with HTTP 400; 1315201 is v3's internal error
_V3_CODES: Final = {90235: 1310235, 90217: 1310217, 90242: 1310242, 90203: 1315201}


@dataclass
class Call:
    """One request of the API, as it was answered. `status` 0: not answered."""

    method: str
    path: str
    operation: str
    status: int = 0
    code: int | None = None
    #: by the stand-in's clock
    at: float = 0.0
    body_bytes: int = 0
    #: by the monotonic clock; the end is when the work was done, before the answer left
    started: float = 0.0
    ended: float | None = None
    fault: str = ""


class _Turns:
    """Who is being served. What Feishu wants one after the other must not come at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def take(self, key: str) -> bool:
        with self._lock:
            if key in self._busy:
                return False
            self._busy.add(key)
            return True

    @property
    def taken(self) -> bool:
        with self._lock:
            return bool(self._busy)

    def leave(self, key: str) -> None:
        with self._lock:
            self._busy.discard(key)


@dataclass
class Visit:
    """A request that has arrived, whose body may still be on its way."""

    service: FeishuService
    request: Request
    route: Route | None
    call: Call
    #: nobody else was being served where this call must be alone
    alone: bool = True

    def answer(self) -> Answer:
        """Carry the call out. The request's body must be there by now."""
        return self.service.answer(self)


class FeishuService:
    """All routes of the API behind one gate."""

    def __init__(
        self, gate: Gate, faults: FaultPlan, routes: list[Route], half_batch: Callable[[Request], None]
    ) -> None:
        self.faults = faults
        #: every request of the API, in the order of arrival
        self.calls: list[Call] = []
        #: writes to a spreadsheet or table, and uploads, that came while another one was under way
        self.overlaps = 0
        self._gate = gate
        self._routes = routes
        self._half_batch = half_batch
        self._turns = _Turns()
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether a call that must be alone is under way, whether or not its client still waits for the answer."""
        return self._turns.taken

    def count(self, match: str, code: int | None = None) -> int:
        """How many calls were made to an operation (`values_image`) or a part of a path; by `code` if given."""
        named = any(route.operation == match for route in self._routes)
        return sum(
            (call.operation == match if named else match in call.path) and (code is None or call.code == code)
            for call in list(self.calls)
        )

    def calls_json(self, last: int = 0) -> dict[str, Any]:
        """The log, or its last lines, and the counts that a verifier wants."""
        calls = list(self.calls)
        shown = [asdict(call) for call in calls[-last:]]
        return {"total": len(calls), "overlaps": self.overlaps, "calls": shown}

    @contextmanager
    def visit(self, method: str, target: str) -> Iterator[Visit]:
        """From the request's first line to its answer: a call that must be alone is under way all that time."""
        request = Request(method, target)
        route = self._find(request)
        visit = Visit(self, request, route, self._log(request, route))
        key = _turn_key(route, request)
        visit.alone = not key or self._turns.take(key)
        try:
            yield visit
        finally:
            if key and visit.alone:
                self._turns.leave(key)

    def answer(self, visit: Visit) -> Answer:
        """What goes back, spoilt if a fault was planned for this call."""
        call, request = visit.call, visit.request
        call.body_bytes = len(request.body)
        rule = (
            None if visit.route is None or self._too_large(request) else self.faults.pick(call.operation, request.path)
        )
        call.fault = rule.kind.value if rule is not None else ""
        log_id = f"standin{int(call.started * 1000):016d}"
        try:
            answer = self._carry_out(visit, rule)
        except ApiError as error:
            answer = error.answer(log_id)
        if answer.code and self._gate.switches.errors_as_200:
            answer.status = 200
        answer.headers.setdefault("X-Tt-Logid", log_id)
        call.status = 0 if answer.cut == "nothing" else answer.status
        call.code = None if answer.cut else answer.code
        call.ended = time.monotonic()
        return answer

    def _too_large(self, request: Request) -> bool:
        limit = self._gate.limits.front_door_bytes
        return limit is not None and len(request.body) > limit

    def _find(self, request: Request) -> Route | None:
        for route in self._routes:
            params = route.params(request.method, request.segments)
            if params is not None:
                request.params = params
                return route
        return None

    def _log(self, request: Request, route: Route | None) -> Call:
        operation = route.operation if route is not None else ""
        call = Call(request.method, request.path, operation, at=self._gate.clock(), started=time.monotonic())
        with self._lock:
            self.calls.append(call)
        return call

    def _carry_out(self, visit: Visit, rule: Rule | None) -> Answer:
        if self._too_large(visit.request):
            return too_large_for_the_front_door()
        if visit.route is None:
            return Answer(404, b"404 page not found", "text/plain")
        if rule is None:
            return self._serve(visit, visit.route)
        spoilt = self._fail_before(visit, visit.route, rule)
        if spoilt is not None:
            return spoilt
        try:
            answer = self._serve(visit, visit.route)
        except ApiError as error:
            answer = error.answer("")
        return self._fail_after(answer, rule)

    def _fail_before(self, visit: Visit, route: Route, rule: Rule) -> Answer | None:
        """The answer of a fault that leaves the call undone; None for the others."""
        kind, path = rule.kind, visit.request.path
        if kind in _ERRORS:
            if kind is Fault.HALF_BATCH:
                with self._lock:
                    self._gate.admit(visit.request, route)
                self._half_batch(visit.request)
            raise self._sheet_error(path, *_ERRORS[kind])
        if kind in _OTHER_ERRORS:
            raise ApiError(*_OTHER_ERRORS[kind])
        if kind is Fault.FULL:
            if "/drive/" in path:
                raise ApiError(1061101, "file quota exceeded", 400)
            raise self._sheet_error(path, 90226, "excess limit")
        if kind is Fault.NOT_ADDED:
            raise self._gate.not_added(path)
        if kind is Fault.SCOPE_MISSING_99991672:
            raise self._gate.scope_missing(route)
        if kind in (Fault.RATE_LIMIT_429, Fault.RATE_LIMIT_400):
            raise rate_limited(429 if kind is Fault.RATE_LIMIT_429 else 400, 100, rule.reset)
        if kind in (Fault.TOKEN_REVOKED_400, Fault.TOKEN_REVOKED_200):
            self._gate.revoke_token_of(visit.request, 400 if kind is Fault.TOKEN_REVOKED_400 else 200)
        if kind is Fault.TOKEN_REVOKED_LATE:
            try:
                self._gate.revoke_token_of(visit.request, 400)
            except ApiError as error:
                answer = error.answer("")
                answer.delay = rule.seconds
                return answer
        if kind is Fault.QUOTA_99991403:
            raise quota_used_up()
        if kind is Fault.HTML_413:
            return too_large_for_the_front_door()
        if kind is Fault.HTML_502:
            return Answer(502, _HTML_502, "text/html")
        if kind is Fault.RESET_BEFORE:
            return Answer(0, b"", cut="nothing")
        if kind is Fault.SLOW_BEFORE:
            self._gate.pause(rule.seconds)
        return None

    def _fail_after(self, answer: Answer, rule: Rule) -> Answer:
        """Spoil the answer of a call that is done."""
        if rule.kind is Fault.HTML_502_AFTER:
            return Answer(502, _HTML_502, "text/html")
        if rule.kind is Fault.RESET_AFTER:
            answer.cut = "nothing"
        elif rule.kind is Fault.HALF_BODY:
            answer.cut = "half"
        elif rule.kind is Fault.SLOW:
            answer.delay = rule.seconds
        return answer

    def _serve(self, visit: Visit, route: Route) -> Answer:
        with self._lock:
            self._gate.admit(visit.request, route)
        if not visit.alone:
            with self._lock:
                self.overlaps += 1
            if route.kind is Kind.UPLOAD:
                raise ApiError(*_OTHER_ERRORS[Fault.CONTENTION_1061045])
            if route.kind is Kind.TABLE:
                raise ApiError(*_OTHER_ERRORS[Fault.WRITE_CONFLICT_1254291])
            # Which code the service gives is documented nowhere; 90235 says "retry later".
            raise self._sheet_error(visit.request.path, *_ERRORS[Fault.BUSY_90235])
        result = route.handler(visit.request)
        answer = result if isinstance(result, Answer) else json_answer({"code": 0, "msg": "success", "data": result})
        if route.kind is Kind.READ and len(answer.body) > self._gate.limits.answer_bytes:
            raise self._sheet_error(visit.request.path, 90221, "TooLargeResponse")
        return answer

    def _sheet_error(self, path: str, code: int, message: str) -> ApiError:
        if "/sheets/v3/" in path and code in _V3_CODES:
            return ApiError(_V3_CODES[code], message, 500 if code == 90203 else 400)
        return ApiError(code, message, self._gate.switches.sheet_error_status if "/sheets/" in path else 200)


def _turn_key(route: Route | None, request: Request) -> str:
    """Calls with the same key must come one after the other; an empty one may come at any time."""
    if route is not None and route.kind is Kind.WRITE:
        return f"write {request.params['spreadsheet']}"
    if route is not None and route.kind is Kind.TABLE:
        return f"write {request.params['app']} {request.params['table']}"
    return "upload" if route is not None and route.kind is Kind.UPLOAD else ""
