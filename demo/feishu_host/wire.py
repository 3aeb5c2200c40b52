"""What the parts of the stand-in share: requests, answers, errors, routes, limits and switches."""

from __future__ import annotations

import enum
import json
import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = [
    "MEBI",
    "Answer",
    "ApiError",
    "Kind",
    "Limits",
    "Part",
    "RateWindows",
    "Request",
    "Route",
    "Switches",
    "json_answer",
    "parse_multipart",
    "rate_limited",
]

MEBI: Final = 1024 * 1024


@dataclass
class Limits:
    """Feishu's documented limits. A test may lower them; None takes a rate away."""

    write_rows: int = 5_000
    write_columns: int = 100
    read_columns: int = 100
    cell_characters: int = 50_000
    answer_bytes: int = 10 * MEBI
    #: not documented; the limit on answers is taken for requests, too
    body_bytes: int = 10 * MEBI
    picture_bytes: int = 20 * MEBI
    pictures: int = 4_000
    upload_bytes: int = 20 * MEBI
    #: of an upload in parts; always this much
    block_bytes: int = 4 * MEBI
    folder_entries: int = 1_500
    table_records: int = 1_000
    uploads_per_day: int = 10_000
    sheet_calls_per_second: int | None = 100
    sheet_v3_calls_per_minute: int | None = 100
    uploads_per_second: int | None = 5
    downloads_per_second: int | None = 5
    messages_per_second: int | None = 5
    messages_per_minute: int | None = 100


@dataclass
class Switches:
    """How the service answers where it is known to vary, or where nobody has written it down."""

    #: ASGI servers send header names in lower case, and clients have stumbled over it
    lowercase_headers: bool = False
    #: the page's table says updatedRange, its sample updateRange
    picture_range_key: Literal["updateRange", "updatedRange"] = "updateRange"
    #: HTTP status of the 90xxx codes: documented nowhere
    sheet_error_status: int = 200
    #: 400 in production, 200 was seen as well
    invalid_token_status: int = 400
    #: every refusal comes as HTTP 200, so that only the body tells
    errors_as_200: bool = False
    #: the scopes that the app has; None: all
    scopes: frozenset[str] | None = None
    #: an administrator may switch the app off; tokens are given out all the same
    app_enabled: bool = True
    #: the app has a list of allowed addresses, and this one, the caller's, is not on it; empty: no list
    denied_ip: str = ""
    #: seconds that the service's clock is ahead: in its Date header, and where the custom bot checks a timestamp
    date_shift: float = 0.0
    #: what the app may do with the document
    document_access: Literal["edit", "view", "none"] = "edit"
    #: whether it was given the folder in drive
    folder_access: bool = True
    #: the custom bot's own safety: a word that each message must have, and whether our address may send
    bot_keyword: str = ""
    bot_ip_allowed: bool = True

    def apply_json(self, changes: Mapping[str, Any]) -> None:
        """The same over HTTP. Raises KeyError for an unknown name."""
        for name, value in changes.items():
            if name not in vars(self):
                raise KeyError(name)
            setattr(self, name, frozenset(value) if name == "scopes" and value is not None else value)


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


@dataclass(frozen=True)
class Part:
    """A field of a form."""

    data: bytes
    filename: str | None

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


_PART_NAME: Final = re.compile(r'[; ]name="([^"]*)"')
_PART_FILENAME: Final = re.compile(r'[; ]filename="([^"]*)"')


def parse_multipart(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a multipart form. A file part may come without a file name, as the SDK sends it."""
    found = re.search(r'multipart/form-data;.*boundary="?([^";]+)"?', content_type, re.IGNORECASE)
    if found is None:
        return {}
    parts: dict[str, Part] = {}
    # The first piece is what stands before the first boundary, the last one the closing dashes.
    for piece in body.split(b"--" + found[1].encode())[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        described = head.decode("utf-8", "replace")
        if name := _PART_NAME.search(described):
            filename = _PART_FILENAME.search(described)
            parts[name[1]] = Part(data.removesuffix(b"\r\n"), filename[1] if filename else None)
    return parts
