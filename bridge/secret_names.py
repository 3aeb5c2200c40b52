"""What names a secret: the one definition, for the keys of data, the headers in lists, and the names in texts.

A name is judged by its words (`x-api-key`, `apiKey` and `API_KEY` are the same), and by what stands at its end: a
`token_count` is a number of tokens, a `fileToken` the picture in a cell, by which rows are told apart.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The words of a name.
_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
#: At the end these say nothing: `token_value`, `authorization_header`, `password2`.
_FILLERS: Final = frozenset({"value", "val", "text", "str", "string", "header", "env", "var"})
#: At the end these say that it is something about a secret.
_ABOUT: Final = _words(
    """
    count counts number num length len size limit budget max min enabled disabled enable required allowed valid type
    mode kind name policy hint expires expiry expire ttl age index indices id ids
    """
)
_PASSWORDS: Final = _words("password passwords passwd passphrase passcode pwd otp totp")
#: Secret wherever they stand in a name.
_ALWAYS: Final = _PASSWORDS | _words("authorization authorisation bearer jwt credential credentials hmac")
#: Secret at the end of a name.
_LAST: Final = _words("secret secrets auth cookie cookies sid")
#: Secret before one of `_HELD`: `api_key`, `id_token`, `session_secret`.
_HOLDERS: Final = _words(
    """
    api access auth oauth app secret private tenant bearer session security refresh client id service signing sign
    encryption encrypt decryption master account storage subscription license ssh user admin bot openai anthropic
    claude gemini google azure aws deepseek dashscope qwen kimi moonshot zhipu replicate fal stability civitai hf
    huggingface github gitlab runninghub comfy feishu lark
    """
)
_HELD: Final = _words("key keys token tokens secret secrets")
#: Pairs of their own.
_PAIRS: Final = frozenset(
    {("session", "id"), ("auth", "code"), ("secret", "id"), ("sess", "id"), ("verification", "token")}
)
#: Before `token` at the end: pictures and files in Feishu, pages of a list, and what language models call so.
_NO_SECRET_TOKENS: Final = _words(
    """
    file image img picture pic photo media video audio thumbnail thumb cover attachment page next continuation
    cursor pad eos bos unk mask sep cls special stop start end placeholder trigger prompt input output added new
    style class concept
    """
)
#: Before `sign` or `signature`, which are also things in pictures.
_SIGNED: Final = _words("x api request req hub lark feishu webhook url http header auth aws amz message")
_SIGNATURES: Final = frozenset({"sign", "signature", "sig"})
#: Written in one word.
_GLUED: Final = re.compile(
    r"x?(api|access|auth|oauth|app|secret|private|refresh|client|bearer|session|tenant|hf|github)(key|token|secret)s?"
    r"|(j|php|asp)?sess(ion)?id|set-?cookie"
)
_CHINESE: Final = re.compile("密码|口令|密钥|令牌")


def names_secret(name: object, value: Any = "") -> bool:
    """Whether what stands under this name is a secret.

    A truth value or nothing at all never is, a number only as a password: keys and tokens are texts, and settings such
    as `max_tokens` or `cookies_enabled` must survive in a graph.
    """
    if value is None or isinstance(value, bool):
        return False
    return _kind_of(str(name)[:200]) >= (2 if isinstance(value, int | float) else 1)


def names_secret_in_address(name: str, value: Any = "") -> bool:
    """The same for a parameter of an address, where a `key` is no part of an object, and whatever is signed is the
    request."""
    last = _WORD.findall(name[:200])[-1:]
    called = name.lower() == "key" or (bool(last) and last[0].lower() in _SIGNATURES)
    return names_secret(name, value) or (called and isinstance(value, str))


@lru_cache(8192)
def _kind_of(name: str) -> int:
    """0: no secret, 1: a secret, 2: a password, which may be all digits."""
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1] in _FILLERS and len(words) > 1:
        words.pop()
    if not _PASSWORDS.isdisjoint(words) and words[-1] not in _ABOUT:
        return 2
    return int(bool(_CHINESE.search(name)) or _is_secret(words))


def _is_secret(words: list[str]) -> bool:
    pairs = set(pairwise(words))
    if _PAIRS & pairs or (("key", "id") in pairs and _HOLDERS & set(words)):
        return True
    if not words or words[-1] in _ABOUT:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _LAST or not _ALWAYS.isdisjoint(words) or any(_GLUED.fullmatch(word) for word in words):
        return True
    if any(holder in _HOLDERS and held in _HELD for holder, held in pairs):
        return True
    if last in _SIGNATURES:
        return not before or before in _SIGNED
    return last == "token" and before not in _NO_SECRET_TOKENS
