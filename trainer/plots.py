"""Draw the curves of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from trainer.history import Epoch


def plot_curves(history: Sequence[Epoch], path: Path) -> None:
    """Draw loss and accuracy over the epochs of all phases into a PNG, phases set apart by lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    position = list(range(len(history)))
    for axes, title, train, val in (
        (loss, "Loss (cross-entropy, nats)", "train_loss", "val_loss"),
        (accuracy, "Accuracy", "train_accuracy", "val_accuracy"),
    ):
        trained = [(x, getattr(row, train)) for x, row in zip(position, history, strict=True) if row.epoch > 0]
        axes.plot(*zip(*trained, strict=True), marker="o", markersize=3, label="train (augmented)")
        axes.plot(position, [getattr(row, val) for row in history], marker="o", markersize=3, label="validation")
        axes.set_title(title)
        axes.set_xticks(position, [str(row.epoch) for row in history], fontsize=8)
        axes.set_xlabel("epoch of the phase")
        axes.grid(alpha=0.3)
        for x in position:
            if history[x].epoch == 0:
                axes.axvline(x - 0.5, color="grey", linewidth=0.8)
                axes.text(x - 0.4, 1.0, history[x].phase, transform=axes.get_xaxis_transform(), fontsize=8, va="top")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
