"""An answer of Feishu's as it is read: up to a bound, whatever is at the other end."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import requests

from ..wording import Wording
from .envelope import Envelope
from .errors import FeishuError, Remedy

#: Bytes of one answer: a reading of 10 MB at most, or the picture of a cell.
LARGEST_ANSWER: Final = 64 * 1024 * 1024
_BLOCK: Final = 64 * 1024
#: What a header can carry.
_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
#: Seconds; Feishu gives a token for two hours.
_LONGEST_LIFE: Final = 24 * 3600.0


@dataclass(frozen=True)
class Answer:
    """What came back, read to its end."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


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


def token_in(envelope: Envelope) -> tuple[str, float]:
    """The access token of an answer, and for how many seconds it is good; raises FeishuError."""
    token = envelope.body.get("tenant_access_token")  # beside `data`, not in it
    try:
        lifetime = float(envelope.body["expire"])
    except (KeyError, TypeError, ValueError, OverflowError):
        lifetime = math.nan
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or math.isnan(lifetime):
        raise FeishuError(Wording("Feishu's answer has no token in it", "飞书的回应里没有访问凭证（token）"))
    return token, min(max(lifetime, 0.0), _LONGEST_LIFE)
