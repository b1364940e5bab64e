"""Each gate opens for what is right, and says in one sentence why it holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from export.errors import AccuracyLost, BatchesDisagree, TooLargeForFp16
from export.gates import GATES, check_accuracy, check_batches, check_range, images_allowed
from export.listing import listing
from linnet.session import Network, Outputs


@pytest.mark.parametrize(
    ("images", "points", "allowed"),
    [(3000, 0.5, 15), (1000, 0.5, 5), (200, 0.5, 1), (24, 0.5, 1), (24, 0, 0), (10_000, 0.29, 29), (9, 100, 9)],
)
def test_points_are_rounded_up_to_images(images: int, points: float, allowed: int) -> None:
    assert images_allowed(images, points) == allowed


def test_the_accuracy_gate() -> None:
    assert check_accuracy("int8", 900, 895, 1000, 0.5).measured == pytest.approx(0.5)
    assert check_accuracy("int8", 900, 910, 1000, 0).measured == pytest.approx(-1.0)
    of_few = check_accuracy("int8", 24, 23, 24, 0.5)  # half a point is rounded up to one image
    assert of_few.measured <= of_few.limit
    with pytest.raises(
        AccuracyLost,
        match=r"accuracy gate failed: the int8 .* 6 of 1000 validation images .* 5 are allowed.*--max-loss",
    ):
        check_accuracy("int8", 900, 894, 1000, 0.5)


def test_the_range_gate() -> None:
    assert check_range(10.5).measured == 10.5
    for largest in (65_505.0, float("inf"), float("nan")):
        with pytest.raises(TooLargeForFp16, match=r"The range gate failed: .* Export without --fp16\."):
            check_range(largest)


class Picky(Network):
    """A network that answers one image differently, and no other, where few come together."""

    def __init__(self, odd: npt.NDArray[np.uint8]) -> None:
        """Need no session."""
        self.odd = odd

    def __call__(self, images: npt.NDArray[np.uint8]) -> Outputs:
        is_odd = (images == self.odd).all((1, 2, 3)) & (len(images) < 32)
        rows = np.stack([0.5 + 0.1 * is_odd, 0.5 - 0.1 * is_odd], 1).astype(np.float32)
        return Outputs(rows, rows, rows)


def test_the_batch_gates_look_at_the_last_class_too() -> None:
    images = pictures(500)
    with pytest.raises(BatchesDisagree):
        check_batches("int8", Picky(images[-1].numpy()), images)


class Moody(Network):
    """A network whose answer depends on how many images come together."""

    def __init__(self, moody_at: int, by: float) -> None:
        """Need no session."""
        self.moody_at = moody_at
        self.by = by

    def __call__(self, images: npt.NDArray[np.uint8]) -> Outputs:
        share = images.reshape(len(images), -1).mean(1) / 255 / 2
        share += self.by * (len(images) == self.moody_at)
        rows = np.stack([share, 1 - share], 1).astype(np.float32)
        return Outputs(rows, rows, rows)


def pictures(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 4, 4, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("count", [5, 32, 40])
def test_the_batch_gates_open_for_a_network_that_keeps_images_apart(count: int) -> None:
    gates = check_batches("int8", Moody(0, 0), pictures(count))
    assert [gate.name for gate in gates] == ["batches", "alone"]
    assert [gate.measured for gate in gates] == [0, 0]


@pytest.mark.parametrize(("size", "gate"), [(7, "batches"), (3, "batches"), (2, "batches"), (1, "batches")])
@pytest.mark.parametrize("by", [0.02, float("nan")])
def test_the_batch_gates_hold_for_one_that_does_not(size: int, gate: str, by: float) -> None:
    with pytest.raises(BatchesDisagree, match=f"The {gate} gate failed"):
        check_batches("int8", Moody(size, by), pictures(32))


class Shy(Moody):
    """A network that answers one image differently where it is alone."""

    def __call__(self, images: npt.NDArray[np.uint8]) -> Outputs:
        is_shy = len(images) == 1 and np.array_equal(images, pictures(32)[16:17].numpy())
        self.moody_at = len(images) if is_shy else 0
        return super().__call__(images)


def test_the_gate_of_being_alone_asks_every_image() -> None:
    with pytest.raises(BatchesDisagree, match="The alone gate failed"):
        check_batches("int8", Shy(0, 0.02), pictures(32))


def test_a_difference_that_int8_may_have_is_none_that_fp32_may_have() -> None:
    check_batches("int8", Moody(7, 0.005), pictures(32))
    with pytest.raises(BatchesDisagree):
        check_batches("fp32", Moody(7, 0.005), pictures(32))


def test_the_list_names_every_variant_and_gate() -> None:
    text = listing()
    for name in ("fp32", "int8", "fp16", *GATES):
        assert f"  {name} " in text
    assert "model.int8.onnx" in text
