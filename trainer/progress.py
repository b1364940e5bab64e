"""Tell the person at the terminal how training goes: a live bar on a terminal, one line per epoch everywhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from trainer.history import Epoch


class Reporter:
    """Writes progress to stderr; use as a context manager so that the terminal is left clean."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Begin a bar over `total` images, `done` of which are behind us; it replaces the one before."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=total, completed=done, status="")

    def advance(self, images: int, status: str | None = None) -> None:
        """Move the bar; `status` stands beside it."""
        if self._task is not None:
            self._bar.advance(self._task, images)
            if status is not None:
                self._bar.update(self._task, status=status)

    def epoch_done(self, epoch: Epoch, epochs: int) -> None:
        """Print what an epoch brought."""
        trained = ""
        if epoch.train_loss is not None and epoch.train_accuracy is not None and epoch.images_per_s is not None:
            trained = f"loss {epoch.train_loss:.4f}  accuracy {epoch.train_accuracy:.4f}  "
            trained += f"{epoch.images_per_s:.0f} images/s  "
        self.say(
            f"{epoch.phase} {epoch.epoch}/{epochs}  {trained}"
            f"validation loss {epoch.val_loss:.4f}  accuracy {epoch.val_accuracy:.4f}  {epoch.seconds:.0f} s"
        )
