"""The command line: `wfrecovery status`, `tasks`, `recover`, `push`, `doctor` and `demo`, one module each.

It stands above all other rooms and may import each of them; none of them imports it.
Start with `main.py`, which runs a command, and `context.py`, which gives it what it needs.
"""
