"""Pass the parity gate again with a bundle that exists already."""

from __future__ import annotations

from pathlib import Path

from export.errors import AnotherRun
from export.gates import check_parity
from export.measure import run_in_batches
from linnet.choice import open_bundle
from linnet.cpu import usable_cpus
from linnet.manifest import Manifest, Parity
from linnet.session import Placement
from trainer.images import decode
from trainer.run import dataset_of, load_network, read_run


def repeat_parity(directory: Path, manifest: Manifest, run: Path) -> Parity:
    """Hold the bundle's fp32 file against the trained network on the whole test split.

    Raises `AnotherRun`, `ParityFailed`, `DataChanged`, `RunNotFound`, `InvalidRun` or a `DataError`.
    """
    record = read_run(run)
    if (record.classes, record.preprocess) != (manifest.classes, manifest.preprocess):
        raise AnotherRun(directory, run)
    images = decode(dataset_of(record).test, manifest.preprocess)
    opened = open_bundle(directory, manifest, Placement("cpu", usable_cpus()), wanted="fp32")
    answers = run_in_batches(opened.network, images)
    calibration = opened.variant.calibration
    return check_parity(load_network(run, record), calibration, opened.network, images, answers)
