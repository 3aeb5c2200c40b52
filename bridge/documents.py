"""What only Feishu knows of an address: which spreadsheet is behind that of a wiki's page, which sheet has the title.
What one part of a program has asked, all parts know.
"""

from __future__ import annotations

from typing import Final

_FOUND: Final[dict[tuple[str, str], str]] = {}
_SHEETS: Final[dict[str, str]] = {}


def spreadsheet_of(domain: str, given: str) -> str | None:
    """The spreadsheet's own token; None where Feishu was not asked yet."""
    return _FOUND.get((domain.lower(), given))


def note_spreadsheet(domain: str, given: str, token: str) -> None:
    """Feishu has opened `token` where `given` stands in the settings."""
    _FOUND[domain.lower(), given] = token


def sheet_of(document: str) -> str | None:
    """The sheet that has a document's title, by the newest answer; None where Feishu was not asked yet."""
    return _SHEETS.get(document)


def note_sheet(document: str, sheet: str) -> None:
    """Feishu has said so. A title may be another sheet's by now."""
    _SHEETS[document] = sheet
