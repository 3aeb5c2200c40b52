"""Whether a batch stands still, and who hears of it: once, whoever of the programs that share a table sees it first.

Imports `feishu`, `table` and what all rooms use. Start with `watch.py`: what stands, look by look; `view.py` is one
look at the table, `note.py` what the group was told, `telling.py` tells it.
"""
