"""What ComfyUI says of a prompt that it does not accept, or not all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..redact import redact, secret_values
from ..wording import Wording

__all__ = ["left_out_reason", "refusal_text"]


def refusal_text(answer: Any) -> str:
    """ComfyUI's reasons for a refused prompt, in one line. It quotes what stands in an input; of a key no more than its
    name."""
    answer = answer if isinstance(answer, Mapping) else {}
    error = answer.get("error") or {}
    if isinstance(error, str):
        return redact(error)
    texts, secrets = _of_nodes(answer.get("node_errors"))
    if not texts and error.get("details"):
        texts.append(str(error["details"]))
    return redact("; ".join([str(error.get("message") or "no reason given"), *texts]), secrets)


def left_out_reason(outputs: Sequence[str], node_errors: Any = None) -> Wording:
    """Why a row has no result although ComfyUI runs its prompt: it has left out these outputs."""
    texts, secrets = _of_nodes(node_errors)
    nodes, why = ", ".join(outputs), redact("; ".join(texts), secrets)
    return Wording(
        f"ComfyUI left out node {nodes}, which makes the row's result: {why or 'its log says why'}",
        f"ComfyUI 跳过了生成该行结果的节点 {nodes}：{why or '原因见其日志'}",
    )


def _of_nodes(node_errors: Any) -> tuple[list[str], list[str]]:
    """What is said of single nodes, and the secrets that it quotes."""
    texts: list[str] = []
    secrets: list[str] = []
    for node_id, node in (node_errors or {}).items():
        for item in node.get("errors", ()):
            secrets += _quoted_secret(item.get("extra_info"))
            texts.append(
                f"{node.get('class_type')} (node {node_id}): {item.get('message')} {item.get('details') or ''}".strip()
            )
    return texts, secrets


def _quoted_secret(info: Any) -> list[str]:
    """The value that ComfyUI quotes of an input, where the input's name says that it is a secret."""
    if not isinstance(info, Mapping):
        return []
    return secret_values({str(info.get("input_name")): info.get("received_value")})
