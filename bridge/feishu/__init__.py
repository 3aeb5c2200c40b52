"""Feishu: finished results into the rows that they were made for, videos into its Drive, summaries to its group.

It may import engines, results, table and what stands beside the rooms, and nothing above it.
Start with `publisher.py`, which says what goes out when, then `delivery.py`, which puts it into its row.
"""
