"""What the parts of the stand-in share: requests, answers, and the codes that the service refuses with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from ..serving.forms import Part, parse_multipart

__all__ = ["MESSAGES", "Answer", "RefusalError", "Request", "envelope", "html"]

#: the service's own names of its codes
MESSAGES: Final = {
    301: "PARAMS_INVALID",
    380: "WORKFLOW_NOT_EXISTS",
    412: "TOKEN_INVALID",
    415: "TASK_INSTANCE_MAXED",
    416: "TASK_CREATE_FAILED_BY_NOT_ENOUGH_WALLET",
    421: "TASK_QUEUE_MAXED",
    # spelt like this by the service
    423: "TASK_NOT_FOUNED",
    433: "VALIDATE_PROMPT_FAILED",
    500: "UNKNOWN_ERROR",
    802: "APIKEY_UNAUTHORIZED",
    803: "APIKEY_INVALID_NODE_INFO",
    804: "APIKEY_TASK_IS_RUNNING",
    805: "APIKEY_TASK_STATUS_ERROR",
    806: "APIKEY_USER_NOT_FOUND",
    807: "APIKEY_TASK_NOT_FOUND",
    808: "APIKEY_UPLOAD_FAILED",
    809: "APIKEY_FILE_SIZE_EXCEEDED",
    810: "WORKFLOW_NOT_SAVED_OR_NOT_RUNNING",
    811: "CORPAPIKEY_INVALID",
    813: "APIKEY_TASK_IS_QUEUED",
    817: "APIKEY_TASK_CANCEL_NOT_ALLOWED",
    1003: "Rate limit exceeded",
    1011: "System is currently busy",
    1520: "Concurrency limit reached",
}


class RefusalError(Exception):
    """The service answers with a code other than 0; its HTTP status is 200 all the same."""

    def __init__(self, code: int, message: str = "", data: Any = None) -> None:
        super().__init__(message or MESSAGES[code])
        self.code = code
        self.data = data


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def segments(self) -> list[str]:
        """The path in pieces, each decoded after splitting."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    def query(self, name: str) -> str:
        return parse_qs(urlsplit(self.target).query).get(name, [""])[0]

    def json(self) -> dict[str, Any]:
        """The body as an object. Raises RefusalError."""
        try:
            body = json.loads(self.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RefusalError(301)
        return body

    def form(self) -> dict[str, Part]:
        """The fields of a multipart form; none if it is something else."""
        return parse_multipart(self.headers.get("Content-Type", ""), self.body)


@dataclass
class Answer:
    """One answer, and how it is to be spoilt."""

    status: int
    body: bytes
    content_type: str = "application/json;charset=UTF-8"
    #: the code in the body, for the log
    code: int | None = None
    #: nothing: the connection is reset without an answer; half: in the middle of the body; hang: it stays open, and
    #: nothing comes until the stand-in stops
    cut: Literal["", "nothing", "half", "hang"] = ""
    #: Content-Length is told; else the end of the connection is the end of the body
    length: bool = True
    #: seconds before it is sent
    delay: float = 0.0


def envelope(code: int, message: str, data: Any) -> Answer:
    """What all calls answer with, refused or not."""
    body = json.dumps({"code": code, "msg": message, "data": data}, ensure_ascii=False)
    return Answer(200, body.encode(), code=code)


def html(status: int, title: str) -> Answer:
    """A page of something between client and service."""
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    return Answer(status, page.encode(), "text/html")
