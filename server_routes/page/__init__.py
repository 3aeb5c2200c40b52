"""What the page and scripts ask over HTTP, and what open pages are told: routes, the list, actions, events, thumbnails.

It imports `recovery`, `queue`, `host.py` and `bridge`; nobody but `plugin.py` imports it.
Start with `routes.py`; the list comes from `task_query.py`, the status from `status.py`.
"""
