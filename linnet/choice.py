"""Choose the variant of a bundle that this very machine can be trusted with, and open it.

The fastest that gives the answers it was measured with: int8 on a CPU, fp16 on CUDA, and fp32 where those do not. int8
sums saturate on x86 CPUs without VNNI, so the same file may answer differently elsewhere; the self-test tells. Must not
import torch or a web framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from linnet.errors import BundleMismatch, CorruptBundle, LinnetError, SelfTestFailed, VariantMissing, first_line
from linnet.manifest import Manifest, Precision, Variant
from linnet.session import ANYWHERE, PROVIDER_NAMES, Network, Placement, check_network, open_network, wants_cuda

Choice = Literal["auto", "fp32", "int8", "fp16"]

ON_CPU: Sequence[Precision] = ("int8", "fp32")
ON_CUDA: Sequence[Precision] = ("fp16", "fp32")


@dataclass(frozen=True)
class Opened:
    """A variant that passed its self-test here, and why it is not the one that would be faster."""

    variant: Variant
    network: Network
    fallback: str | None = None  # a sentence; None where the first choice is used as it is


def open_bundle(directory: Path, manifest: Manifest, place: Placement = ANYWHERE, *, wanted: Choice = "auto") -> Opened:
    """Open the variant `wanted`; 'auto' takes the fastest that passes its self-test on this machine.

    A precision asked for by name is used or refused, never replaced. Raises `VariantMissing`, `ProviderUnavailable`,
    `BundleMismatch`, `SelfTestFailed`, or `CorruptBundle` where ONNX Runtime cannot run the file.
    """
    there = [variant.precision for variant in manifest.variants]
    if wanted != "auto":
        if wanted not in there:
            raise VariantMissing(directory, wanted, there)
        return _open_first(directory, manifest, [wanted], place)
    if "fp32" not in there:
        raise BundleMismatch(directory, "it has no fp32 variant")
    order = ON_CUDA if wants_cuda(place.provider) else ON_CPU
    opened = _open_first(directory, manifest, [name for name in order if name in there], place)
    if order is ON_CUDA and opened.network.provider == PROVIDER_NAMES["cpu"]:  # offered, and did not become active
        return open_bundle(directory, manifest, replace(place, provider="cpu"))
    return opened


def _open_first(directory: Path, manifest: Manifest, order: Sequence[Precision], place: Placement) -> Opened:
    """Open the first of `order` that passes; the last one's failure is raised."""
    fallback: str | None = None
    for precision in order:
        variant = manifest.variant(precision)
        assert variant is not None  # the callers name only variants that are there
        for precise in (False, True) if precision == "int8" else (False,):
            try:
                network = _open(directory, manifest, variant, place, precise=precise)
            except SelfTestFailed as error:
                failure = error
                continue
            if precise:
                fallback = f"int8 runs with the slower precise sums: without, {_difference(failure)} on this processor."
            return Opened(variant, network, fallback)
        fallback = f"{precision} is not used: {_difference(failure)} on this processor."
    raise failure


def _open(directory: Path, manifest: Manifest, variant: Variant, place: Placement, *, precise: bool) -> Network:
    try:
        network = open_network(directory / variant.file, place, precise=precise)
        check_network(directory, manifest, variant, network)
    except (LinnetError, ModuleNotFoundError):
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own for every kind of damage
        raise CorruptBundle(directory / variant.file, f"does not run ({first_line(error)})") from error
    return network


def _difference(failure: SelfTestFailed) -> str:
    return f"its probabilities differ by {failure.difference:.2g} where {failure.tolerance:.2g} is allowed"
