"""Result files: whether one is whole, whose it is, of what kind, how many there must be, and where `main.py` saves it.

It imports `table` and what lies in `bridge` itself; it talks to nobody and changes no record.
Start with `output_files.py`.
"""
