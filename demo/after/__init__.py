"""The program of `demo/before` with `bridge`: whatever dies, each row is paid for once, and is in the sheet once.

It imports the public names only, as a user's program does. Start with `__main__.py`; `docs/main-py.md` tells what is
different.
"""
