"""Multipart forms, as clients send them that upload a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Part", "parse_multipart"]


@dataclass(frozen=True)
class Part:
    """A field of a form."""

    data: bytes
    filename: str | None

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


_PART_NAME: Final = re.compile(r'[; ]name="([^"]*)"')
_PART_FILENAME: Final = re.compile(r'[; ]filename="([^"]*)"')


def parse_multipart(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a multipart form; none if it is something else. A file part may come without a file name."""
    found = re.search(r'multipart/form-data;.*boundary="?([^";]+)"?', content_type, re.IGNORECASE)
    if found is None:
        return {}
    parts: dict[str, Part] = {}
    # The first piece is what stands before the first boundary, the last one the closing dashes.
    for piece in body.split(b"--" + found[1].encode())[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        described = head.decode("utf-8", "replace")
        if name := _PART_NAME.search(described):
            filename = _PART_FILENAME.search(described)
            parts[name[1]] = Part(data.removesuffix(b"\r\n"), filename[1] if filename else None)
    return parts
