"""How the training went: its phases and its curves."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.history import Epoch
from trainer.recipe import Augment, Phase
from trainer.report.charts import draw_curves, to_png
from trainer.report.material import Material
from trainer.report.page import Picture, Section, Table, Text
from trainer.report.wording import duration, percent


def training_section(material: Material) -> Section:
    """Show the phases and the curves."""
    record = material.record
    header = (
        "Phase",
        "Trains",
        "Optimizer",
        "Size, px",
        "Augmentation",
        "Epochs",
        "Batch",
        "Best validation accuracy",
        "Time",
    )
    rows = [
        _phase_row(
            phase,
            phase.size_px or record.preprocess.size_px,
            [row for row in material.history if row.phase == phase.name],
        )
        for phase in record.recipe.phase
    ]
    text = (
        f"{duration(record.seconds)} of training and validation on {record.device}, seed {record.seed}. "
        f"{_kept(record.recipe.phase)}; the test split played no part."
    )
    caption = (
        "Loss, accuracy and the highest learning rate over the epochs; a dotted line begins each phase. Rates near "
        "zero lie below the edge. "
        "Training figures are those of augmented images while the weights moved, label smoothing in the loss."
    )
    curves = Picture("curves", to_png(draw_curves(material.history)), caption)
    return Section("Training", [Text(text), Table(header, rows, left=5), curves])


def _kept(phases: Sequence[Phase]) -> str:
    """Say which weights each phase handed on."""
    rule = "Each phase ends with the weights that scored best on the validation split"
    passed_through = [phase.name for phase in phases if phase.keep == "last"]
    return f"{rule}, or with those of its last epoch: {', '.join(passed_through)}" if passed_through else rule


def _phase_row(phase: Phase, size_px: int, epochs: list[Epoch]) -> tuple[str, ...]:
    best = max(epochs, key=lambda row: row.merit, default=None)
    optim = phase.optim
    return (
        phase.name,
        {"head": "head", "all": "all layers"}.get(str(phase.unfreeze), f"head, last {_last(phase.unfreeze)}"),
        f"{optim.name} {optim.lr:g}, {optim.schedule}",
        str(size_px),
        _augmentation(phase.augment),
        f"{max((row.epoch for row in epochs), default=0)} of {phase.epochs}",
        str(phase.batch_size),
        "" if best is None else f"{percent(best.val_accuracy)} (epoch {best.epoch})",
        duration(sum(row.seconds for row in epochs)),
    )


def _last(unfreeze: str | int) -> str:
    return f"{unfreeze} layers" if isinstance(unfreeze, int) else unfreeze


def _augmentation(augment: Augment) -> str:
    plain = Augment()
    told = {name: value for name, value in augment.model_dump().items() if value != getattr(plain, name)}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in told.items()) or "none"
