"""What each epoch brought: the rows of `history.csv`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path

from trainer.disk import replace_file
from trainer.errors import InvalidRun

HISTORY_FILE = "history.csv"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training split; epoch 0 is the state before the phase."""

    phase: str
    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None  # on augmented images, while the weights moved
    val_loss: float
    val_accuracy: float
    lr: float | None = None  # the highest, at the end of the epoch
    images_per_s: float | None = None
    seconds: float  # training and validation

    @property
    def merit(self) -> tuple[float, float]:
        """Return what the best epoch has most of: validation accuracy, and among equals the lower validation loss."""
        return self.val_accuracy, -self.val_loss


def write_history(directory: Path, history: Sequence[Epoch]) -> None:
    """Replace `history.csv` in one step; numbers that do not exist are empty. Raises `DiskFull`."""
    text = StringIO(newline="")
    writer = csv.DictWriter(text, [column.name for column in fields(Epoch)])
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    replace_file(directory / HISTORY_FILE, text.getvalue().encode())


def read_history(directory: Path) -> list[Epoch]:
    """Read `history.csv` of a run. Raises `InvalidRun`."""
    path = directory / HISTORY_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_parse(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidRun(path, str(error)) from error


def _parse(row: dict[str, str]) -> Epoch:
    numbers = {name: float(text) if text else None for name, text in row.items() if name not in ("phase", "epoch")}
    return Epoch(phase=row["phase"], epoch=int(row["epoch"]), **numbers)  # type: ignore[arg-type]
