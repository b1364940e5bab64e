"""The only place that computes: one network on one thread of its own, never on the event loop.

Must not import a web framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from linnet.session import Network


class Engine:
    """Runs batches of one network, one after the other."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    async def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Return the probabilities [N, K] of N images [H, W, 3]; raises what ONNX Runtime raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._probabilities, images)

    def _probabilities(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        return self._network(np.stack(images)).probabilities

    def close(self) -> None:
        """Let the thread go; a batch that runs is finished first."""
        self._thread.shutdown(wait=True)
