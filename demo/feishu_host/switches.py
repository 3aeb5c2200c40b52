"""The settings of the stand-in: Feishu's limits, and how it answers where that varies or nobody has written it down."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..serving.unknowns import Unknowns

__all__ = ["MEBI", "UNKNOWN", "UNKNOWN_AND_HARSH", "Limits", "Switches"]

MEBI: Final = 1024 * 1024


@dataclass
class Limits:
    """Feishu's documented limits. A test may lower them; None takes a rate away."""

    write_rows: int = 5_000
    write_columns: int = 100
    read_columns: int = 100
    cell_characters: int = 50_000
    answer_bytes: int = 10 * MEBI
    #: not documented; the limit on answers is taken for requests, too
    body_bytes: int = 10 * MEBI
    #: the front door takes no larger body, whoever it is for: HTTP 413 with a page in HTML; None: it takes all
    front_door_bytes: int | None = None
    picture_bytes: int = 20 * MEBI
    pictures: int = 4_000
    #: of one sheet, with something in them; what would fill one more is refused
    sheet_cells: int = 5_000_000
    upload_bytes: int = 20 * MEBI
    #: of an upload in parts; always this much
    block_bytes: int = 4 * MEBI
    folder_entries: int = 1_500
    table_records: int = 1_000
    uploads_per_day: int = 10_000
    sheet_calls_per_second: int | None = 100
    sheet_v3_calls_per_minute: int | None = 100
    uploads_per_second: int | None = 5
    downloads_per_second: int | None = 5
    messages_per_second: int | None = 5
    messages_per_minute: int | None = 100
    #: of a tenant that pays nothing: all further calls are refused, but those for a token and those to the bot
    calls_per_month: int | None = None

    def apply_json(self, changes: Mapping[str, Any]) -> None:
        """The same over HTTP. Raises KeyError for an unknown name."""
        for name, value in changes.items():
            _known(self, name)
            setattr(self, name, value)


#: what nobody knows of the service, or what varies, and all that it may be
UNKNOWN: Final[Mapping[str, Sequence[Any]]] = {
    "lowercase_headers": (False, True),
    "picture_range_key": ("updateRange", "updatedRange"),
    "sheet_error_status": (200, 400),
    "invalid_token_status": (200, 400),
    "errors_as_200": (False, True),
    "wrong_secret_code": (10014, 10015),
    "wiki_token_code": (1310213, 1310214, 1310251, 90214),
    "pictures_without_token": ("sizes", "id"),
    "picture_as_list": (False, True),
    "number_to_string": ("number", "shown", "plain"),
    "date_texts": ("asked", "formatted too", "not raw"),
    "formula_cells": ("documented", "asked", "object"),
    "drop_downs": ("text", "object", "list"),
    "single_drop_downs": ("text", "object", "list"),
    "blanks": ("null", "empty text", "left out"),
    "revision": ("one", "pictures two", "two", "by sheet", "missing", "restless"),
    "batch_atomic": (False, True),
    "unchanged_refused": (False, True),
    "protected_code": (90213, 90218),
    "sheet_full_code": (90219, 90226),
    "pictures_full_code": (90219, 90226, 1310247),
    "downloads": ("as written", "written anew"),
    "bot_old_answer": (False, True),
}
#: under these a client may not see what it, or somebody else, has done
UNKNOWN_AND_HARSH: Final[Mapping[str, Sequence[Any]]] = {
    "revision": (*UNKNOWN["revision"], "still"),
    "late_reads": (0, 1, 2, 5),
    "late_revision": ("new", "old"),
    "written_pictures": ("shown", "hidden", "without token"),
}


@dataclass
class Switches(Unknowns):
    """How the service answers where it is known to vary, or where nobody has written it down.

    Unknown names and values are refused (AttributeError, ValueError): misspelt, they would switch nothing.
    """

    possible = UNKNOWN
    harsh = UNKNOWN_AND_HARSH

    # On the wire

    #: ASGI servers send header names in lower case, and clients have stumbled over it
    lowercase_headers: bool = False
    #: the page's table says updatedRange, its sample updateRange
    picture_range_key: Literal["updateRange", "updatedRange"] = "updateRange"
    #: HTTP status of the 90xxx codes: documented nowhere
    sheet_error_status: int = 200
    #: 400 in production, 200 was seen as well
    invalid_token_status: int = 400
    #: every refusal comes as HTTP 200, so that only the body tells
    errors_as_200: bool = False

    # Who may do what

    #: the scopes that the app has; None: all
    scopes: frozenset[str] | None = None
    #: an administrator may switch the app off; tokens are given out all the same
    app_enabled: bool = True
    #: the app has a list of allowed addresses, and this one, the caller's, is not on it; empty: no list
    denied_ip: str = ""
    #: seconds that the service's clock is ahead: in its Date header, and where the custom bot checks a timestamp
    date_shift: float = 0.0
    #: what the app may do with the document
    document_access: Literal["edit", "view", "none"] = "edit"
    #: whether it was given the folder in drive
    folder_access: bool = True
    #: a wrong secret: 10015 in the list of codes, 10014 was believed before
    wrong_secret_code: int = 10015
    #: the token of a wiki's node where one of a spreadsheet is expected: 1310214, 1310213, 1310251 or 90214
    wiki_token_code: int = 1310214

    # How a cell reads

    #: what ToString and FormattedValue leave of a picture: all but token and link, or only type and id
    pictures_without_token: Literal["sizes", "id"] = "sizes"
    #: even a single picture reads as a list, of one
    picture_as_list: bool = False
    #: a number under ToString: as a number (the page excepts numbers from text), as people see it, or in plain digits
    number_to_string: Literal["number", "shown", "plain"] = "number"
    #: a date reads as text where FormattedString is asked for; under FormattedValue in any case; never where the value
    #: is asked for raw (UnformattedValue, Formula)
    date_texts: Literal["asked", "formatted too", "not raw"] = "asked"
    #: a formula reads as such under Formula and with no option, under Formula alone, or always as its object
    formula_cells: Literal["documented", "asked", "object"] = "documented"
    #: a drop-down of several values: joined with a comma, the object that it is written as, or a list
    drop_downs: Literal["text", "object", "list"] = "text"
    #: a drop-down of one value: the value, the object, or a list of one
    single_drop_downs: Literal["text", "object", "list"] = "text"
    #: an empty cell reads as null (a guess) or as "", or what is empty at the end of rows and of the range is left out
    blanks: Literal["null", "empty text", "left out"] = "null"
    #: these cells (F2) and columns (F) read as an object of a type that is documented nowhere
    unknown_cells: frozenset[str] = frozenset()

    # `revision`

    #: what goes up and when: by one with each change, by two with a picture, by two with each write of the API, not at
    #: all, for each sheet apart, missing from all answers, or by one before every third call as well, by itself
    revision: Literal["one", "pictures two", "two", "still", "by sheet", "missing", "restless"] = "one"

    # When a read shows what was written

    #: so many reads after a write still show what was there before
    late_reads: int = 0
    #: and so many seconds
    late_seconds: float = 0.0
    #: the number that such a read carries: the new one already, or still the old one
    late_revision: Literal["new", "old"] = "new"
    #: a picture that was written reads as one, never as anything, or without its token whatever the option
    written_pictures: Literal["shown", "hidden", "without token"] = "shown"

    #: a picture downloads as the very bytes that were written, or as another file that shows the same
    downloads: Literal["as written", "written anew"] = "as written"

    # Writing

    #: a batch whose middle is refused leaves nothing behind; else what came before that stays written
    batch_atomic: bool = True
    #: a write that changes nothing is refused with 90216
    unchanged_refused: bool = False
    #: what a write into a protected range is refused with: 90218, or 90213 as if the whole document could not be edited
    protected_code: int = 90218
    #: what a write is refused with that finds no room in its sheet: 90219 or 90226
    sheet_full_code: int = 90219
    #: what a picture over the limit of pictures is refused with: 90226, 90219 or 1310247
    pictures_full_code: int = 90226

    # The custom bot of a group

    #: its own safety: a word that each message must have
    bot_keyword: str = ""
    #: and whether our address may send
    bot_ip_allowed: bool = True
    #: it answers as years ago, without `code`
    bot_old_answer: bool = False

    def apply_json(self, changes: Mapping[str, Any]) -> None:
        """The same over HTTP. Raises KeyError for an unknown name, ValueError for an unknown value."""
        for name, value in changes.items():
            _known(self, name)
            setattr(self, name, frozenset(value) if isinstance(value, list) else value)

    def to_json(self) -> dict[str, Any]:
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in vars(self).items()}

    def become(self, other: Switches) -> None:
        """Take all values over; the parts of the stand-in keep this object."""
        for name, value in vars(other).items():
            setattr(self, name, value)


def _known(settings: Limits | Switches, name: str) -> None:
    if name not in {item.name for item in dataclasses.fields(settings)}:
        raise KeyError(name)
