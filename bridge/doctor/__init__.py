"""`doctor`: is everything there that recovery and publishing need, and if not, what is to be clicked or set.

It changes nothing, and may import every room but the command line.
Start with `report.py`, which asks all questions, and `checks.py`, which says what an answer is.
"""
