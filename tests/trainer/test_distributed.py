"""Two processes that train together end where one would, and look at every image once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.networks import tiny_network, tiny_split
from tests.trainer.trees import write_photos
from trainer import distributed
from trainer.evaluate import predict_logits
from trainer.recipe_file import load_recipe
from trainer.run import RUN_FILE, WEIGHTS_FILE, read_run
from trainer.train import train

ROOT = Path(__file__).parents[2]

# No BatchNorm: on CPUs each process would see its own rows alone. Batches of 15 are cut into 7 and 8, these into parts.
RECIPE = """
name = "together"

[data]
path = "{data}"
validation_fraction = 0.2

[network]
backbone = "cnn_2"
weights = "none"
dropout = 0.0

[optim]
name = "sgd"
lr = 0.05
ema_decay = 0.8
clip_norm = 1.0

[[phase]]
name = "head"
unfreeze = "head"
epochs = 2
batch_size = 15

[[phase]]
name = "all"
unfreeze = "all"
epochs = 2
batch_size = 15
accumulate = 2
augment = {{ flip = true, shift = 0.1, rotate = 10.0, mixup = 0.2 }}
"""


@pytest.mark.e2e
def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    data = write_photos(tmp_path / "photos", {"blue": 30, "green": 29, "red": 28})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(data=data))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(
            "-m",
            "--",
            "linnet.cli",
            "train",
            str(recipe),
            "--run",
            str(tmp_path / "two"),
            "--cache",
            str(tmp_path / "cache"),
        ),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == f"{tmp_path / 'two'}\n", "one process speaks"
    assert answer.stderr.count("test accuracy") == 1

    alone = train(load_recipe(recipe), tmp_path / "one")
    together = read_run(tmp_path / "two")
    one, two = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-5), name
    for split, expected in alone.metrics.items():
        measured = together.metrics[split]
        assert (measured.n, measured.correct) == (expected.n, expected.correct)
        assert measured.loss == pytest.approx(expected.loss, abs=1e-4)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), abs=1e-4)
    assert json.loads((tmp_path / "two" / RUN_FILE).read_text())["recipe"] == alone.recipe.model_dump(mode="json")


def losses(run: Path) -> list[float]:
    """Return every loss of the history, of training and of validation."""
    rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    columns = [rows[0].index(name) for name in ("train_loss", "val_loss")]
    return [float(row[column]) for row in rows[1:] for column in columns if row[column]]


@pytest.mark.parametrize("count", [1, 7, 8, 256])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_shares_of_all_processes_are_all_rows_once(count: int, processes: int) -> None:
    shares = [range(count)[distributed.share_of(count, number, processes)] for number in range(processes)]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_is_exchanged() -> None:
    network = tiny_network()
    assert distributed.wrapped(network) is network
    assert distributed.summed(1.5, 2.0) == [1.5, 2.0]
    assert distributed.from_leader(lambda: "state") == "state"
    assert distributed.leads()
    with distributed.joined():
        assert len(predict_logits(network, tiny_split(5).images)) == 5


@pytest.mark.parametrize("name", ["mobilenetv1_100", "resnet18"])
def test_synchronised_norms_answer_as_those_before(name: str) -> None:
    """Some of timm's norms hold the activation that follows them."""
    timm = pytest.importorskip("timm", reason="timm is an optional extra")
    torch.manual_seed(0)
    network, images = timm.create_model(name).eval(), torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        expected = network(images)
        distributed.convert_norms(network)
        assert any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in network.modules())
        assert torch.equal(network(images), expected)


# Each of two processes fills the statistics of a norm with its own number.
AVERAGING = """
import torch
from torch import nn
from trainer import distributed

with distributed.joined():
    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(distributed.rank())
    norm.running_var.fill_(3.0)
    distributed.average_statistics(norm)
    assert norm.running_mean.tolist() == [0.5, 0.5], norm.running_mean
    assert norm.running_var.tolist() == [3.0, 3.0], norm.running_var
"""


@pytest.mark.e2e
def test_every_process_gets_the_mean_of_the_statistics(tmp_path: Path) -> None:
    script = tmp_path / "averaging.py"
    script.write_text(AVERAGING)
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
