"""A bar on stderr for commands that go through images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress


@contextmanager
def progress_of_images(total: int, done: int, *, is_off: bool = False) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many images are done; yields what is told of those that follow.

    `is_off` is for results that are seen on the terminal themselves.
    """
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    is_off = is_off or not console.is_terminal
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=is_off) as bar:
        task = bar.add_task("images", total=total, completed=done)
        yield lambda count: bar.advance(task, count)
