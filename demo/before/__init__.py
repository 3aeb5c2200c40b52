"""A batch program of the usual build, without `bridge`: it works as long as nothing dies.

It imports nothing of ours, and has the usual faults on purpose: see `docs/main-py.md`. `demo/after` is the same program
with `bridge`. Start with `__main__.py`.
"""
