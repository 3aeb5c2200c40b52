"""The console script `wfrecovery`: runs one command; whatever stops it becomes a sentence and an exit code."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from ..table.records import TaskError
from . import decide, demo, doctor, push, recover, status, tasks
from .arguments import asked_language, parser_in
from .context import NOT_DONE, WELL, CommandError, Context, sentence

#: The exit code that shells give to Ctrl-C.
_INTERRUPTED: Final = 130

Command = Callable[[Context], Coroutine[Any, Any, int]]
_COMMANDS: Final[Mapping[str, Command]] = {
    "status": status.run,
    "tasks": tasks.run,
    "recover": recover.run,
    "push": push.run,
    "decide": decide.run,
}


def main(argv: list[str] | None = None) -> int:
    """The console script; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # a Windows console has its own code page
    language = asked_language(argv)
    arguments = parser_in(language).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return _run(arguments, language)
    except CommandError as error:
        return _refuse(arguments, error.kind, error.wording.text(language))
    except TaskError as error:
        return _refuse(arguments, "task", str(error))
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - nothing is left to flush at exit
        return WELL
    except OSError as error:
        return _refuse(arguments, "system", sentence(error))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(arguments: argparse.Namespace, language: str) -> int:
    match arguments.command:
        case "demo":
            return demo.run(arguments)
        case "doctor":
            return doctor.run(arguments, language)
    code = asyncio.run(_COMMANDS[arguments.command](Context(arguments, language)))
    sys.stdout.flush()
    return code


def _refuse(arguments: argparse.Namespace, kind: str, text: str) -> int:
    """Say why nothing was done; a script reads it where it reads everything else."""
    if getattr(arguments, "json", False):
        print(json.dumps({"error": {"type": kind, "message": text}}, ensure_ascii=False, indent=1))
    print(f"wfrecovery: {text}", file=sys.stderr)
    return NOT_DONE
