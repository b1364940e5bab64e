"""Several processes that train one network together, as `torchrun` starts them; alone, everything here does nothing.

Each process holds all of the data and draws all of the randomness of a step, then learns from its own rows of the
batch: the result is that of one process with the same batch. Who leads (rank 0) reads and writes the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")

# One process of a host downloads and decodes while the others wait; a process that dies is noticed by torchrun at once.
LONGEST_WAIT = timedelta(hours=12)


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that `torchrun` started, with NCCL on CUDA devices, one for each, and gloo on CPUs."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(_local_rank())
    distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def leads() -> bool:
    """Tell whether this process is the one that speaks and writes; known before and after `joined` too."""
    return not distributed.is_torchelastic_launched() or os.environ["RANK"] == "0"


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def process_count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_rows(count: int) -> slice:
    """Return this process's share of `count` rows."""
    return share_of(count, rank(), process_count())


def share_of(count: int, number: int, processes: int) -> slice:
    """Return the rows of process `number` (from 0): disjoint, nearly equal, and all together all of them."""
    return slice(count * number // processes, count * (number + 1) // processes)


def summed(*values: float) -> list[float]:
    """Return the sums over all processes."""
    if process_count() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=_device())
    distributed.all_reduce(total)
    return total.tolist()


def gathered(own: torch.Tensor, count: int) -> torch.Tensor:
    """Return all `count` rows, of which each process brings its own in order of rank, bit for bit."""
    if process_count() == 1:
        return own
    rows = own.new_zeros(count, *own.shape[1:])
    rows[own_rows(count)] = own
    distributed.all_reduce(rows)  # x + 0 is x, so nothing is rounded
    return rows


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Give every process the mean of what the BatchNorms of all have seen."""
    if process_count() > 1:
        for buffer in network.buffers():
            if buffer.is_floating_point():
                total = buffer.double()  # in which the mean of equal values is that value, so what is frozen stays
                distributed.all_reduce(total)
                buffer.copy_(total / process_count())


def synchronise_norms(network: nn.Module) -> None:
    """Let the BatchNorms inside the network see the batch of all processes, which torch has for CUDA alone.

    On CPUs each BatchNorm sees its own rows, so a network that has any does not learn quite what one process would.
    """
    if process_count() > 1 and _device().type == "cuda":
        convert_norms(network)


def convert_norms(network: nn.Module) -> None:
    """Put a `SyncBatchNorm` in the place of each BatchNorm inside the network; those of timm keep their activation."""
    if any(type(layer).__module__.startswith("timm.") for layer in network.modules()):
        from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    else:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]


def wrapped(module: nn.Module) -> nn.Module:
    """Return the module so that its gradients are averaged over all processes."""
    if process_count() == 1:
        return module
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def without_exchange(module: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which gradients add up without being averaged over the processes."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


def from_leader(make: Callable[[], T]) -> T:
    """Call `make` in the leading process and return its result in all."""
    if process_count() == 1:
        return make()
    box = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(box, device=_device())
    return box[0]  # type: ignore[return-value]


@contextmanager
def one_per_host_first() -> Iterator[None]:
    """Let one process of each host do the body before the others, which find what it has left on the disk."""
    waits = process_count() > 1 and _local_rank() > 0
    if waits:
        distributed.barrier()
    yield
    if process_count() > 1 and not waits:
        distributed.barrier()


def _local_rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def _device() -> torch.device:
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
