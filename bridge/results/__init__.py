"""Result files: of what kind one is, whether it is whole, whose it is, and where `main.py` saves it.

It imports `table` and what lies in `bridge` itself; it talks to nobody and changes no record. Files are judged by their
content, with the standard library only. Start with `find.py`.
"""
