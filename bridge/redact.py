"""Keeping secrets out of records, logs, routes and errors. What names one: `secret_names.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from .secret_names import names_secret, names_secret_in_address

HIDDEN: Final = "[hidden]"
#: Longer texts than this are no error messages, but dumps of a prompt.
MAX_MESSAGE: Final = 2000

#: A name and what separates it from its value. Of a key its kind is a part of the name.
_NAME: Final = re.compile(
    r"""(?<![\w.-])(?P<name>(?:[\w.-]+[ ](?=[Kk]eys?\b))?[\w.-]+)(?:[ ]provided|\\?["'])?\s*[:=：]\s*"""
)
#: Its value: in quotes up to their end, several of them up to their bracket, else up to the next blank or sign; of a
#: cookie all that follows, and after a scheme what proves it.
_QUOTED: Final = re.compile(
    r"""(?P<before>[bruBRU]{0,2}\\?(?P<quote>\'{3}|"{3}|["']))(?P<value>(?:\\[^"'\n]|(?!\\?(?P=quote))[^\n])+)"""
)
_SEVERAL: Final = re.compile(r"""(?P<before>[\[({]\s*)(?P<value>[bruBRU]{0,2}\\?["'][^\])}\n]{3,})""")
_PLAIN: Final = re.compile(
    r"""(?i)(?P<before>)(?P<value>(?:(?:bearer|basic|digest|token)\s+)?(?![\[({\s]*\[hidden\])[^\s"',;&)}\]]{4,})"""
)
_AFTER_SCHEME: Final = re.compile(
    r"""(?P<before>)(?P<value>(?:[A-Za-z][\w-]*[ ]+)?(?![\[({\s]*\[hidden\])[^\s"',;&)}\]]{4,})"""
)
_COOKIE: Final = re.compile(r"""(?P<before>)(?P<value>[^\r\n"']{4,})""")
#: A header as a list or an object, as Python and JSON write them.
_HEADER: Final = re.compile(
    r"""(?x)
    (?P<before> (?: (?P<list>[\[(]\s*) | \\?["'](?:name|key|header|field|variable)\\?["']\s*:\s* )
        b?(?P<quote>\\?["']) (?P<name>[\w.-]{1,100}) (?P=quote)\s*,\s*
        (?(list)|\\?["'](?:value|val|content|default)\\?["']\s*:\s*) b?(?P=quote) )
    (?P<value> (?!\[hidden\]) (?:(?!(?P=quote))[^\n])+ )
    (?= (?P=quote) (?(list)\s*[\])]) )"""
)
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{6,}")
_KNOWN_SHAPES: Final = re.compile(
    r"""(?x)
    \b(?: (?:sk|pk|ghp|hf|comfyui|t|u)-[A-Za-z0-9_-]{12,}
        | (?:gh[opsur]|hf|github_pat|xox[abp])_[A-Za-z0-9_]{12,}
        | AKIA[0-9A-Z]{16}
        | AIza[\w-]{30,}
        | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*
    )"""
)
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)", re.DOTALL
)
#: How Python shows an object that has no words of its own.
_OBJECT: Final = re.compile(r"<([\w.]+)(?: object)?(?: [^<>]{0,200})? at 0x[0-9a-fA-F]+>")
#: In addresses: who calls, with his password; a parameter; a robot in a group.
_USER: Final = re.compile(r"""(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#:@"'<>]*:[^\s/?#"'<>]+@""")
_PARAMETER: Final = re.compile(r"""(?P<name>(?<=[?&;#])[\w.%-]+)=(?P<value>(?!\[hidden\])[^\s&;,#"'<>)}\]]{4,})""")
_HOOK: Final = re.compile(r"(/bot/(?:v2/)?hook/)[\w-]+")
#: What tells a row apart is compared with what stands in the sheet; what a graph is made from is not changed.
_AS_THEY_ARE: Final = frozenset(
    {"product_name", "model_name", "prompt", "product_image", "model_image", "record_id", "extra_pnginfo"}
)
#: Objects and lists inside one another; what lies deeper is left out.
_DEPTH: Final = 40
#: What is secret in a cookie, or behind the name of a scheme.
_PART: Final = re.compile(r"(?i)(?:=|^(?:bearer|basic|digest|token)\s+)([^\s;,=]+)")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_A_NAME: Final = re.compile(r"[\w.-]{1,100}")
#: How lists of headers, cookies or variables call a name and its value.
_NAME_KEYS: Final = ("name", "key", "header", "field", "variable")
_VALUE_KEYS: Final = frozenset({"value", "val", "content", "default"})
#: Shorter texts inside something secret are ordinary words: "basic", "admin".
_TELLING: Final = 8


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without `secrets` and without what looks like a secret, cut to a readable length."""
    written = {form for secret in secrets for form in _forms(secret)}
    for secret in sorted(written, key=len, reverse=True):  # one may be a part of another
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _HEADER.sub(_header, _without_named(hidden_in_addresses(text)))
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _KNOWN_SHAPES.sub(HIDDEN, text)
    text = _OBJECT.sub(lambda match: match[1].rpartition(".")[2], text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} …"


def without_secrets(data: Mapping[str, Any], secret_names: Iterable[str] = ()) -> dict[str, Any]:
    """A copy of `data` without the keys of `secret_names`, and at any depth without what has a secret's name. What is
    nested deeper than anybody means is left out."""
    return _Cleaner().mapping(data, frozenset(secret_names), _DEPTH)


def without_secret_texts(data: Mapping[str, Any], secret_names: Iterable[str] = ()) -> dict[str, Any]:
    """The same, and without the secrets in the addresses that its texts hold. What tells a row apart stays."""
    return {key: _with_clean_text(key, value) for key, value in without_secrets(data, secret_names).items()}


def hidden_in_addresses(text: str) -> str:
    """`text` without the secrets in the addresses that it holds; all else stays, whatever it looks like."""
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _PARAMETER.sub(_parameter, text)
    return _HOOK.sub(rf"\1{HIDDEN}", text)


def secret_values(data: Mapping[str, Any], secret_names: Iterable[str] = ()) -> list[str]:
    """The texts in `data` that `without_secrets` leaves out, so that messages can be cleaned of them."""
    cleaner = _Cleaner()
    cleaner.mapping(data, frozenset(secret_names), _DEPTH)
    return [text for value in cleaner.dropped for text in _texts(value)]


class _Cleaner:
    """Copies data without what has a secret's name, which is noted."""

    def __init__(self) -> None:
        self.dropped: list[Any] = []

    def mapping(self, data: Mapping[str, Any], names: frozenset[str], depth: int) -> dict[str, Any]:
        secret = {key for key, value in data.items() if key in names or names_secret(key, value)}
        if any(_is_secret_name(data.get(key)) for key in _NAME_KEYS):  # a header as an object: {"name", "value"}
            secret |= _VALUE_KEYS & data.keys()
        self.dropped += [data[key] for key in data if key in secret]
        return {key: self._copy(value, depth - 1) for key, value in data.items() if key not in secret}

    def _copy(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value, frozenset(), depth) if depth > 0 else None
        if isinstance(value, list | tuple):
            if _is_named_pair(value):
                self.dropped.append(value[1])
                value = value[:1]
            return [self._copy(item, depth - 1) for item in value] if depth > 0 else None
        return value


def _is_named_pair(value: list[Any] | tuple[Any, ...]) -> bool:
    """A header as a list: ["Authorization", "Bearer …"]."""
    return len(value) == 2 and _is_secret_name(value[0]) and isinstance(value[1], str)


def _is_secret_name(value: Any) -> bool:
    """Whether a value is itself the name of a secret; a sentence is none."""
    return isinstance(value, str) and _A_NAME.fullmatch(value) is not None and names_secret(value)


def _texts(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    """What a secret is written with: itself, or the telling texts inside it."""
    if isinstance(value, str | int | float):
        yield str(value)
        yield from (part for part in _PART.findall(str(value)) if len(part) >= _TELLING)
    elif isinstance(value, Mapping | list | tuple) and depth > 0:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from (text for text in _texts(item, depth - 1) if len(text) >= _TELLING)


def _with_clean_text(key: Any, value: Any) -> Any:
    if key in _AS_THEY_ARE:
        return value
    if isinstance(value, str):
        return hidden_in_addresses(value)
    if isinstance(value, Mapping):
        return {inner: _with_clean_text(inner, item) for inner, item in value.items()}
    return [_with_clean_text(None, item) for item in value] if isinstance(value, list) else value


def _forms(secret: str) -> set[str]:
    """A secret as messages quote it: as it is, as Python and JSON write it, and in an address."""
    plain = secret.strip()
    addressed = {
        quote(plain, safe="", errors="replace"),
        quote_plus(plain, errors="replace"),
        quote(plain, errors="replace"),
    }
    return {secret, plain, *(form(plain)[1:-1] for form in (repr, json.dumps, ascii)), *addressed}


def _header(found: re.Match[str]) -> str:
    secret = names_secret(found["name"], _number_or_text(found["value"]))
    return f"{found['before']}{HIDDEN}" if secret else found[0]


def _parameter(found: re.Match[str]) -> str:
    secret = names_secret_in_address(found["name"], _number_or_text(found["value"]))
    return f"{found['name']}={HIDDEN}" if secret else found[0]


def _without_named(text: str) -> str:
    parts, end = [], 0
    for name in _NAME.finditer(text):
        if name.start() < end or not names_secret(name["name"]):
            continue
        value = next(filter(None, (form.match(text, name.end()) for form in _values_of(name["name"].lower()))), None)
        if value is None or not names_secret(name["name"], _number_or_text(value["value"])):
            continue
        if value["value"].startswith(HIDDEN):
            continue
        parts += [text[end : name.end()], value["before"], HIDDEN]
        end = value.end()
    return "".join((*parts, text[end:]))


def _values_of(name: str) -> tuple[re.Pattern[str], ...]:
    """How the value of that name may be written."""
    cookie, header = name.endswith(("cookie", "cookies")), "authori" in name
    return _QUOTED, _SEVERAL, _COOKIE if cookie else _AFTER_SCHEME if header else _PLAIN


def _number_or_text(text: str) -> Any:
    """A value in a text as the type that it has in data."""
    if text in ("true", "false", "True", "False", "None", "null"):
        return None
    return 0 if _NUMBER.fullmatch(text) else text
