"""The summary tells shapes, parameters, and which phase trains what."""

from __future__ import annotations

import torch
from torch import nn

from tests.trainer.networks import SPEC, tiny_network, tiny_phase
from trainer.backbones import Parts
from trainer.network import Classifier
from trainer.report.architecture import summary_table

IMAGE = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)


def test_each_part_is_a_row() -> None:
    phases = [
        tiny_phase("head").model_copy(update={"name": "first"}),
        tiny_phase("1 blocks").model_copy(update={"name": "second"}),
    ]
    table = summary_table(tiny_network(), IMAGE, phases)
    assert [tuple(row) for row in table.rows] == [
        ("blocks.0", "Sequential", "none: frozen", "8 x 8 x 8", "232"),
        ("blocks.1", "Sequential", "none: frozen", "8 x 8 x 8", "592"),
        ("blocks.2", "Sequential", "second", "8 x 8 x 8", "592"),
        ("neck", "AveragePool", "nothing to train", "8", "0"),
        ("head", "Sequential", "first, second", "3", "27"),
    ]


def test_the_only_block_of_a_network_is_shown_by_its_parts() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(1))
    head = nn.Sequential(nn.Dropout(0.0), nn.Linear(4 * 36, 3))
    table = summary_table(Classifier(Parts([block], nn.Identity(), 4 * 36), head, SPEC), IMAGE, [tiny_phase("all")])
    assert [row[:3] for row in table.rows] == [
        ("blocks.0.0", "Conv2d", "tiny"),
        ("blocks.0.1", "Flatten", "nothing to train"),
        ("neck", "Identity", "nothing to train"),
        ("head", "Sequential", "tiny"),
    ]
