"""What the memory of a GPU leaves room for, and what is said when it does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from linnet.errors import LinnetError, first_line


class GpuFull(LinnetError):
    """The GPU's memory does not suffice for what a recipe asks."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The memory of the GPU does not suffice ({reason.rstrip('. ')}): lower batch_size or size_px, or raise "
            "accumulate, and start the run anew."
        )


@contextmanager
def told_when_full() -> Iterator[None]:
    """Raise `GpuFull` where PyTorch finds no memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise GpuFull(first_line(error)) from error


def room_for(count: int, device: torch.device) -> bool:
    """Tell whether so many bytes take no more than half of what a GPU has free; on the CPU, true."""
    return device.type != "cuda" or count <= torch.cuda.mem_get_info(device)[0] // 2
