"""What the parts of the stand-in share: requests, answers, errors, routes and rates."""

from __future__ import annotations

import enum
import json
import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = [
    "Answer",
    "ApiError",
    "Kind",
    "RateWindows",
    "Request",
    "Route",
    "json_answer",
    "quota_used_up",
    "rate_limited",
    "sheet_error",
    "too_large_for_the_front_door",
]


@dataclass
class Request:
    """One request, decoded."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: the parts of the path that the route names, percent-decoded
    params: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def segments(self) -> list[str]:
        """The path in pieces, each decoded after splitting: a range may contain anything."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    def query(self, name: str, default: str = "") -> str:
        return self.queries(name)[0] if self.queries(name) else default

    def queries(self, name: str) -> list[str]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True).get(name, [])

    def json(self, code: int = 9499) -> dict[str, Any]:
        """The body as JSON, whatever the Content-Type: Feishu's own SDK sends none."""
        try:
            body = json.loads(self.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ApiError(code, "the body is not a JSON object", 200 if code == 90201 else 400)
        return body


@dataclass
class Answer:
    """One answer, and how it is to be spoilt."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    #: Feishu's code, for the log
    code: int | None = None
    #: nothing: the connection is cut without an answer; half: in the middle of the body
    cut: Literal["", "nothing", "half"] = ""
    delay: float = 0.0


class ApiError(Exception):
    """Feishu says no: its code, a message and the HTTP status."""

    def __init__(
        self,
        code: int,
        message: str,
        status: int = 200,
        *,
        headers: dict[str, str] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers or {}
        self.error = error or {}

    def answer(self, log_id: str) -> Answer:
        """The envelope of a failure."""
        body = {"code": self.code, "msg": self.message, "error": {"log_id": log_id, **self.error}}
        return json_answer(body, self.status, headers=self.headers)


def rate_limited(status: int, limit: int, reset: str) -> ApiError:
    """99991400 with the two headers that say how many calls are allowed and how long to wait."""
    headers = {"x-ogw-ratelimit-limit": str(limit), "x-ogw-ratelimit-reset": reset}
    return ApiError(99991400, "request trigger frequency limit", status, headers=headers)


def quota_used_up() -> ApiError:
    """The tenant has made all the calls that it may make in a month: nobody says when to come back."""
    return ApiError(99991403, "This month's API call quota has been exceeded", 429)


def sheet_error(code: int, message: str, v2_status: int) -> ApiError:
    """The long codes are those of v3 and have a status of their own."""
    return ApiError(code, message, 400 if code > 1_000_000 else v2_status)


def too_large_for_the_front_door() -> Answer:
    """The gateway's own page: what is behind it never sees the request."""
    page = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n</html>\r\n"
    return Answer(413, page.encode(), "text/html")


def json_answer(body: Mapping[str, Any], status: int = 200, *, headers: dict[str, str] | None = None) -> Answer:
    """An answer in JSON; knows its code."""
    code = body.get("code")
    data = json.dumps(body, ensure_ascii=False).encode()
    return Answer(status, data, headers=dict(headers or {}), code=code if isinstance(code, int) else None)


class Kind(enum.Enum):
    """What a call is to the rules about rates, permission and taking turns."""

    #: needs no token
    OPEN = "open"
    READ = "read"
    #: counted by the minute
    READ_V3 = "read v3"
    #: one at a time for each document
    WRITE = "write"
    #: one at a time for each table
    TABLE = "table"
    #: one at a time for the app
    UPLOAD = "upload"
    DOWNLOAD = "download"
    OTHER = "other"


Handler: TypeAlias = Callable[[Request], "Answer | dict[str, Any]"]


@dataclass(frozen=True)
class Route:
    """An endpoint. Segments that start with a colon are parameters; a dictionary from the handler is `data`."""

    method: str
    pattern: str
    operation: str
    kind: Kind
    handler: Handler
    #: any one of them will do; none: not checked
    scopes: tuple[str, ...] = ()

    def params(self, method: str, segments: list[str]) -> dict[str, str] | None:
        """The parameters, or None if this is another endpoint."""
        names = self.pattern.strip("/").split("/")
        if method != self.method or len(names) != len(segments):
            return None
        pairs = list(zip(names, segments, strict=True))
        if any(name != segment for name, segment in pairs if not name.startswith(":")):
            return None
        return {name[1:]: segment for name, segment in pairs if name.startswith(":")}


class RateWindows:
    """Sliding windows: how many calls of a kind there were in the last seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: defaultdict[tuple[str, float], deque[float]] = defaultdict(deque)

    def admit(self, name: str, limit: int | None, seconds: float = 1.0) -> bool:
        """Count a call, unless there were too many."""
        if limit is None:
            return True
        now, times = self._clock(), self._times[name, seconds]
        while times and times[0] <= now - seconds:
            times.popleft()
        if len(times) >= limit:
            return False
        times.append(now)
        return True

    def wait(self, name: str, seconds: float = 1.0) -> int:
        """Whole seconds until one more call fits."""
        times = self._times[name, seconds]
        return max(1, math.ceil(times[0] + seconds - self._clock())) if times else 0
