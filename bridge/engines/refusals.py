"""What ComfyUI says of a prompt that it does not accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..redact import redact, secret_values

__all__ = ["refusal_text"]


def refusal_text(answer: Any) -> str:
    """ComfyUI's reasons for a refused prompt, in one line. It quotes what stands in an input; of a key no more than its
    name."""
    answer = answer if isinstance(answer, Mapping) else {}
    error = answer.get("error") or {}
    if isinstance(error, str):
        return redact(error)
    texts = [str(error.get("message") or "no reason given")]
    secrets: list[str] = []
    for node_id, node in (answer.get("node_errors") or {}).items():
        for item in node.get("errors", ()):
            secrets += _quoted_secret(item.get("extra_info"))
            texts.append(
                f"{node.get('class_type')} (node {node_id}): {item.get('message')} {item.get('details') or ''}".strip()
            )
    if len(texts) == 1 and error.get("details"):
        texts.append(str(error["details"]))
    return redact("; ".join(texts), secrets)


def _quoted_secret(info: Any) -> list[str]:
    """The value that ComfyUI quotes of an input, where the input's name says that it is a secret."""
    if not isinstance(info, Mapping):
        return []
    return secret_values({str(info.get("input_name")): info.get("received_value")})
