"""The command line: each verb takes what the one before wrote. Results go to stdout, progress to stderr.

The rooms and their heavy libraries are imported inside the commands, so that `linnet --help` and `linnet serve` work
without the training stack.
"""

from linnet.cli.app import main

__all__ = ["main"]
