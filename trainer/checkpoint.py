"""The training state between two epochs: enough to continue as if nothing had happened.

Each epoch draws its randomness from (seed, phase, epoch) alone, so no generator state needs to be kept. Written to a
temporary file and renamed: a kill at any moment leaves the previous state whole.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from linnet.errors import first_line
from trainer.disk import FULL_DISK_ADVICE, replacing
from trainer.errors import InvalidRun
from trainer.history import Epoch

RESUME_FILE = "resume.pt"
STAGING_FILE = f".{RESUME_FILE}"


@dataclass
class Checkpoint:
    """Where a run stands: `phase` and `epoch` are the next to do."""

    recipe: dict[str, Any]  # resolved
    data: str  # fingerprint
    phase: int = 0
    epoch: int = 0
    best_accuracy: float = -1.0  # of the running phase, on the validation split
    best_loss: float = math.inf  # of the same epoch; checkpoints of before it was kept lack it
    best_epoch: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    network: dict[str, torch.Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of the run in one step. Raises `DiskFull`."""
    state = {**checkpoint.__dict__, "history": [asdict(epoch) for epoch in checkpoint.history]}
    with (
        replacing(directory / RESUME_FILE, directory / STAGING_FILE, FULL_DISK_ADVICE) as staging,
        staging.open("wb") as file,
    ):
        torch.save(state, file)  # through a file of Python's, whose errors say what the system said


def is_staging(path: Path) -> bool:
    """Tell whether the file is what a kill during the first checkpoint leaves."""
    return path.name == STAGING_FILE


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read the checkpoint of a run, onto the CPU. Raises `InvalidRun`."""
    path = directory / RESUME_FILE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["history"] = [Epoch(**row) for row in state["history"]]
        return Checkpoint(**state)
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise InvalidRun(path, first_line(error)) from error
