"""The command line: what is typed, and what is printed."""

from refresher.cli.commands import main

__all__ = ["main"]
