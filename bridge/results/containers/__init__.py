"""Formats of result files, each read as far as it takes to tell whether a file is whole and what its metadata say.

It imports nothing of ours, and of others only the standard library: `main.py` runs where no codec is. Each module has
`whole(reader)` (True: the writer closed it; False: the format cannot tell; BrokenFileError: it is not whole) and, where
the format has a place for them, `texts(reader)` (the metadata, with their names). Start with `reading.py`.
"""
