"""The only place that computes: one network on one thread of its own, never on the event loop.

Must not import a web framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from linnet.session import Network, Outputs


class Engine:
    """Runs batches of one network, one after the other."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    async def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> Outputs:
        """Return what the network says of N images [H, W, 3]; raises what ONNX Runtime raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, images)

    def _run(self, images: Sequence[npt.NDArray[np.uint8]]) -> Outputs:
        return self._network(np.stack(images))

    def close(self) -> None:
        """Let thread and network go; a batch that runs is finished first."""
        self._thread.shutdown(wait=True)
        del self._network  # its memory must not wait until the last reference to this engine is gone
