"""Formats that hold a JSON value without being JSON: each module converts one to JSON text.

Every number keeps its digits, every string its characters; what JSON cannot hold is refused.
"""
