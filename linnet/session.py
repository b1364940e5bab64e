"""Open a bundle's network in ONNX Runtime and ask it.

The export measures with this module and the service answers with it, so session options are part of what was measured.
onnxruntime is imported on first use. Must not import torch or a web framework.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from linnet.errors import BundleMismatch, ProviderUnavailable, SelfTestFailed
from linnet.manifest import Manifest, Variant
from linnet.preprocess import load_image

if TYPE_CHECKING:
    import onnxruntime

Provider = Literal["auto", "cpu", "cuda"]

PROVIDER_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# Largest difference of a probability on a stored input. fp32 differs between machines by the order of its sums alone;
# reduced precisions also by the instructions used.
SELF_TEST_TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "int8": 2e-2}

REQUIRED_OUTPUTS = ("probabilities", "logits", "embedding")
OPTIONAL_OUTPUTS = ("uncertainty", "cam")

# A layer that was left in float because it must be precise would be made int8 again while the session is created, with
# one scale for all channels, where its neighbours are quantised (onnxruntime #22969).
DISABLED_OPTIMISERS = ("WeightBiasQuantization",)


@dataclass(frozen=True)
class Placement:
    """Where a network runs, and with how much of it."""

    provider: Provider = "auto"  # 'auto' takes CUDA where it becomes active and the CPU otherwise
    threads: int = 1  # inside one run, on the CPU
    cuda_device: int = 0
    cuda_memory_bytes: int | None = None  # what ONNX Runtime's arena may take; None: what the device has


# CUDA or the CPU, whichever there is.
ANYWHERE = Placement()


@dataclass(frozen=True)
class Outputs:
    """What the network says of a batch."""

    probabilities: npt.NDArray[np.float32]  # [N, K]
    logits: npt.NDArray[np.float32]  # [N, K]
    embedding: npt.NDArray[np.float32]  # [N, D]
    uncertainty: npt.NDArray[np.float32] | None = None  # [N], where the bundle has a rule to abstain
    cam: npt.NDArray[np.float32] | None = None  # [N, K, h, w], where the head is linear and K is small


class Network:
    """One variant of a bundle in one ONNX Runtime session; safe to call from several threads."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.provider: str = session.get_providers()[0]
        declared = {output.name for output in session.get_outputs()}
        self._names = [*REQUIRED_OUTPUTS, *(name for name in OPTIONAL_OUTPUTS if name in declared)]

    def __call__(self, images: npt.NDArray[np.uint8]) -> Outputs:  # [N, H, W, 3]
        """Run one batch of any size N >= 1."""
        arrays = self._session.run(self._names, {"image": images})
        return Outputs(**dict(zip(self._names, arrays, strict=True)))

    def run_bare(self, images: npt.NDArray[np.uint8]) -> object:  # [N, H, W, 3]
        """Run one batch and name nothing: the floor that no service around it can beat."""
        return self._session.run(["probabilities"], {"image": images})

    @property
    def class_count(self) -> int | str | None:
        """Return K of the `probabilities` output as the graph declares it."""
        return next((output.shape[1] for output in self._session.get_outputs() if output.name == "probabilities"), None)

    @property
    def input_shape(self) -> list[int | str | None]:
        """Return the declared shape of the first input: batch, height, width, channels."""
        return list(self._session.get_inputs()[0].shape)


def wants_cuda(provider: Provider) -> bool:
    """Tell whether CUDA is to be tried: where it is asked for, and by 'auto' where ONNX Runtime offers it."""
    import onnxruntime as ort

    return provider == "cuda" or (provider == "auto" and PROVIDER_NAMES["cuda"] in ort.get_available_providers())


def open_network(path: Path, place: Placement = ANYWHERE, *, precise: bool = False) -> Network:
    """Open an ONNX file at its place.

    `precise` keeps int8 sums from saturating on x86 CPUs without VNNI, and is slower there. Raises
    `ProviderUnavailable` where the provider that was asked for is not active on the created session (the list of
    *available* providers is no evidence).
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = place.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads must not burn the cores that decode the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precise:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if place.provider == "cuda" and PROVIDER_NAMES["cuda"] not in ort.get_available_providers():
        raise ProviderUnavailable(PROVIDER_NAMES["cuda"], ort.get_available_providers())
    session = ort.InferenceSession(
        str(path), options, providers=providers_of(place), disabled_optimizers=list(DISABLED_OPTIMISERS)
    )
    if place.provider == "cuda" and session.get_providers()[0] != PROVIDER_NAMES["cuda"]:
        raise ProviderUnavailable(PROVIDER_NAMES["cuda"], session.get_providers())
    return Network(session)


def providers_of(place: Placement) -> list[str | tuple[str, dict[str, str]]]:
    """List ONNX Runtime's providers in the order to be tried, with their options."""
    if not wants_cuda(place.provider):
        return [PROVIDER_NAMES["cpu"]]
    cuda = {"device_id": str(place.cuda_device)}
    if place.cuda_memory_bytes is not None:  # and grow towards it by what is needed, not by doubling
        cuda |= {"gpu_mem_limit": str(place.cuda_memory_bytes), "arena_extend_strategy": "kSameAsRequested"}
    return [(PROVIDER_NAMES["cuda"], cuda), PROVIDER_NAMES["cpu"]]


def check_network(directory: Path, manifest: Manifest, variant: Variant, network: Network) -> None:
    """Hold an opened network against its manifest: shapes, class count and the stored self-test.

    Raises `BundleMismatch` or `SelfTestFailed`.
    """
    size_px = manifest.preprocess.size_px
    if network.input_shape[1:] != [size_px, size_px, 3]:
        raise BundleMismatch(directory, f"input {network.input_shape} instead of [N, {size_px}, {size_px}, 3]")
    if network.class_count != len(manifest.classes):
        raise BundleMismatch(directory, f"{network.class_count} outputs for {len(manifest.classes)} classes")
    images = np.stack(
        [load_image(base64.b64decode(case.image_png), manifest.preprocess) for case in manifest.self_test]
    )
    expected = np.array([case.probabilities[variant.precision] for case in manifest.self_test], dtype=np.float32)
    difference = float(np.abs(network(images).probabilities - expected).max())
    tolerance = SELF_TEST_TOLERANCE[variant.precision]
    if not difference <= tolerance:
        raise SelfTestFailed(directory, variant.precision, difference, tolerance)
