"""An answer of Feishu's as it is read: up to a bound, whatever is at the other end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests

from ..wording import Wording
from .errors import FeishuError, Remedy

#: Bytes of one answer: a reading of 10 MB at most, or the picture of a cell.
LARGEST_ANSWER: Final = 64 * 1024 * 1024
_BLOCK: Final = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What came back, read to its end."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.content)


def read_bounded(response: requests.Response) -> Answer:
    """Read an answer that is still on the line; raises FeishuError for one that is larger than anything we ask for,
    and what requests raises."""
    content = bytearray()
    with response:
        for block in response.iter_content(_BLOCK):
            content += block
            if len(content) > LARGEST_ANSWER:
                raise FeishuError(
                    Wording(
                        f"Feishu's answer is larger than {LARGEST_ANSWER >> 20} MiB, and was not read",
                        f"飞书的回应超过 {LARGEST_ANSWER >> 20} MiB，没有读取",
                    ),
                    remedy=Remedy.FINAL,
                )
    return Answer(response.status_code, response.headers, bytes(content))
