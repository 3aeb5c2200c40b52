"""`wfrecovery demo`: starts the demo where it is installed."""

from __future__ import annotations

import argparse
import importlib

from ..wording import Wording
from .context import CommandError


def run(arguments: argparse.Namespace) -> int:
    """Shows a batch that survives; raises CommandError where the demo's packages are missing."""
    # Found by name: `bridge` imports nothing of the demo, and a copy of `bridge` alone has none.
    try:
        story = importlib.import_module("wfrecovery.demo.story")
    except ImportError as error:
        raise CommandError(
            "no_demo",
            Wording(
                f"the demo needs its extra ({error.name} is missing): python -m pip install 'wfrecovery[demo]'",
                f"演示需要额外的包（缺少 {error.name}）：python -m pip install 'wfrecovery[demo]'",
            ),
        ) from error
    names = ("comfyui", "stand_in", "cloud", "keep")
    return int(story.run(**{name: getattr(arguments, name) for name in names}))
