"""Which spreadsheet an address means. That of a wiki's page names a node, and only Feishu knows what is behind it: what
one part of a program has asked, all parts know.
"""

from __future__ import annotations

from typing import Final

_FOUND: Final[dict[tuple[str, str], str]] = {}


def spreadsheet_of(domain: str, given: str) -> str | None:
    """The spreadsheet's own token; None where Feishu was not asked yet."""
    return _FOUND.get((domain.lower(), given))


def note_spreadsheet(domain: str, given: str, token: str) -> None:
    """Feishu has opened `token` where `given` stands in the settings."""
    _FOUND[domain.lower(), given] = token
