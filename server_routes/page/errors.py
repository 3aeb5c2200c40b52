"""Answers to requests that cannot be fulfilled: `{"error": {"type", "message"}}` with the right status."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from ...bridge.in_time import within
from ...bridge.redact import redact
from ...bridge.results.contents import ResultGoneError
from ...bridge.table.locks import NoLocksError
from ...bridge.table.names import UnknownTaskError
from ...bridge.table.records import TaskError
from ...bridge.wording import Wording, wording_of

log = logging.getLogger("wfrecovery")

#: Bytes of a body, and seconds in which it has to come: a thousand ids are 20 KB.
MAX_BODY: Final = 256 * 1024
BODY_SECONDS: Final = 30.0
_BLOCK: Final = 16 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequestError(ValueError):
    """The request cannot be answered; `kind` and the text go to the caller."""

    def __init__(self, kind: str, message: Wording | str, status: int = 400) -> None:
        self.kind, self.status, self.wording = kind, status, wording_of(message)
        super().__init__(self.wording.en)


def error_response(kind: str, message: str, status: int) -> web.Response:
    """`{"error": {"type", "message"}}`. A browser keeps a 410 for good where nothing else is said, but a file that is
    gone may come back under its name."""
    body = {"error": {"type": kind, "message": redact(message)}}
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})


def language_of(request: web.Request) -> str:
    """In which language to answer: `lang` in the address, else the header that browsers send, else English."""
    return request.query.get("lang") or request.headers.get("Accept-Language", "").partition(",")[0].strip() or "en"


def answering(handler: Handler) -> Handler:
    """Every error as JSON with the right status, none as ComfyUI's 500 page."""

    @functools.wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except BadRequestError as error:
            response = error_response(error.kind, error.wording.text(language_of(request)), error.status)
            if error.status in (408, 413):  # what is still to come is no next request
                response.force_close()
            return response
        except UnknownTaskError as error:
            return error_response("unknown_task", error.wording.text(language_of(request)), 404)
        except ResultGoneError as error:
            return error_response(f"result_{error.kind}", error.wording.text(language_of(request)), 410)
        except TaskError as error:
            return error_response("not_possible", error.wording.text(language_of(request)), 409)
        except NoLocksError as error:
            return error_response("no_locks", error.wording.text(language_of(request)), 503)
        except OSError as error:
            log.error("[wfrecovery] %s %s: %s", request.method, request.path, error)
            why = error.strerror or str(error)
            said = Wording(f"the task table cannot be used: {why}", f"任务表无法使用：{why}")
            return error_response("disk", said.text(language_of(request)), 503)

    return answer


async def json_body(request: web.Request) -> dict[str, Any]:
    """The body of a write. A page of another origin cannot send this type without asking first (CORS), and nothing
    else is taken. Raises BadRequestError."""
    if request.content_type != "application/json":
        raise BadRequestError("content_type", "send Content-Type: application/json and a JSON object, at least {}", 415)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":  # a few bytes may become gigabytes
        raise BadRequestError("content_encoding", "send the body as it is, not compressed", 415)
    try:
        content = await within(BODY_SECONDS, _bounded_body(request))
    except (TimeoutError, asyncio.TimeoutError):
        raise BadRequestError("slow_body", f"the body did not come within {BODY_SECONDS:g} s", 408) from None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise BadRequestError("bad_json", "the body is not valid JSON; send an object, at least {}") from None
    if not isinstance(body, dict):
        raise BadRequestError("bad_json", "the body is not a JSON object; send at least {}")
    return body


async def _bounded_body(request: web.Request) -> bytes:
    """Not more than our largest body, whatever length was named: a chunked one names none, and may never end."""
    if (request.content_length or 0) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    async for block in request.content.iter_chunked(_BLOCK):
        body += block
        if len(body) > MAX_BODY:
            raise _too_large()
    return bytes(body)


def _too_large() -> BadRequestError:
    return BadRequestError("too_large", f"the body is larger than {MAX_BODY} bytes", 413)
