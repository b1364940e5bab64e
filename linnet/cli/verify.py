"""Check a bundle as the service does when it loads one, and say what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from linnet.bundle import read_manifest, verify_files
from linnet.choice import Opened, open_bundle
from linnet.cpu import usable_cpus
from linnet.errors import BundleError, LinnetError
from linnet.manifest import Manifest
from linnet.session import Placement


class VariantsFail(BundleError):
    """Some variants of a bundle do not answer here as they did where they were measured."""

    def __init__(self, directory: Path, reasons: list[str]) -> None:
        super().__init__(f"The bundle {directory} cannot be used as it was measured: {' '.join(reasons)}")


def verify_bundle(directory: Path, run: Path | None = None) -> Iterator[str]:
    """Yield a line for everything that holds: schema, hashes, each variant's shapes and self-test on this CPU.

    With `run` the parity gate is passed again, against its network and its test split. Raises a `BundleError` for what
    does not hold, or `ParityFailed`.
    """
    manifest = read_manifest(directory)
    yield f"manifest   {manifest.name} {manifest.version}, {len(manifest.classes)} classes, {len(manifest.gates)} gates"
    verify_files(directory, manifest)
    yield f"files      {', '.join(variant.file for variant in manifest.variants)}: sizes and SHA-256 as stated"
    failures = []
    for variant in manifest.variants:
        try:
            opened = open_bundle(directory, manifest, Placement("cpu", usable_cpus()), wanted=variant.precision)
        except LinnetError as error:
            failures.append(str(error))
            continue
        yield f"{variant.precision:10} {_self_test(manifest, opened)}"
    if failures:
        raise VariantsFail(directory, failures)
    if run is not None:
        from export.repeat import repeat_parity

        parity = repeat_parity(directory, manifest, run)
        yield (
            f"parity     {parity.top1_agreement:.2%} of {parity.n} test images alike, largest difference of a "
            f"probability {parity.max_probability_difference:.1e}"
        )


def _self_test(manifest: Manifest, opened: Opened) -> str:
    metrics = opened.variant.metrics
    scored = f"accuracy {metrics.accuracy:.4f} on {metrics.n} {metrics.split} images as exported"
    note = f"; {opened.fallback}" if opened.fallback else ""
    return f"self-test of {len(manifest.self_test)} images passed; {scored}{note}"
