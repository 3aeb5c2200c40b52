"""Chance of our own.

The program that we are in may seed Python's `random` and expect what follows from that: a node that picks prompts by
its seed, a `main.py` that repeats yesterday's run. Not one number of it is ours to draw.
"""

from __future__ import annotations

from random import SystemRandom  # noqa: TID251 - an object of its own, that nobody seeds
from typing import Final

CHANCE: Final = SystemRandom()
