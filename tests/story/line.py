"""The stand-in's Feishu without a socket: what a request meets on its way there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.feishu_host.wire import Answer


@dataclass
class Reply:
    """As much of `requests.Response` as the client looks at."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def iter_content(self, _block: int) -> Iterator[bytes]:
        yield self.content


class Line:
    """The line to Feishu. `passes` hears of each call: "before" it reaches Feishu, and "after"."""

    def __init__(self, feishu: FeishuStandIn) -> None:
        self.feishu = feishu
        self.away = False

    def session(self, passes: Callable[[str], None]) -> Session:
        """The session of one process."""
        return Session(self, passes)


class Session:
    def __init__(self, line: Line, passes: Callable[[str], None]) -> None:
        self._line, self._passes = line, passes

    def request(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None,
        headers: dict[str, str],
        timeout: tuple[float, float],
        stream: bool,
    ) -> Reply:
        self._passes("before")
        if self._line.away:
            raise requests.ConnectionError("connection refused")
        feishu = self._line.feishu
        with feishu.service.visit(method, url.removeprefix(feishu.url)) as visit:
            visit.request.headers, visit.request.body = (
                {name.title(): text for name, text in headers.items()},
                data or b"",
            )
            answer: Answer = visit.answer()
        self._passes("after")
        if answer.cut == "nothing":
            raise requests.ConnectionError("connection reset")
        if answer.cut == "half":
            raise requests.exceptions.ChunkedEncodingError("connection broken")
        if answer.delay > timeout[1]:
            raise requests.ReadTimeout("read timed out")
        return Reply(answer.status, {"Content-Type": answer.content_type, **answer.headers}, answer.body)
