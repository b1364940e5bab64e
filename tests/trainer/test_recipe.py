"""A recipe is read strictly: what it does not say is a default, what nobody knows is an error that helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linnet.errors import PathNotFound
from trainer.architectures import IMAGENET_MEAN, IMAGENET_STD
from trainer.errors import InvalidRecipe
from trainer.recipe import Augment, Recipe
from trainer.recipe_file import load_recipe

ROOT = Path(__file__).parents[2]

TEXT = """
name = "pets"

[data]
path = "photos"

[preprocess]
size_px = 64

[optim]
lr = 1e-3
weight_decay = 0.05

[augment]
flip = true

[[phase]]
name = "head"
unfreeze = "head"
epochs = 5
optim = { lr = 3e-3 }

[[phase]]
name = "finetune"
unfreeze = "12 blocks"
epochs = 8
augment = { shift = 0.1 }
"""


def read(tmp_path: Path, text: str = TEXT, *overrides: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return load_recipe(path, overrides)


def complaint(tmp_path: Path, text: str = TEXT, *overrides: str) -> str:
    """Return the problem that the recipe is refused for, without the path."""
    with pytest.raises(InvalidRecipe) as caught:
        read(tmp_path, text, *overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    start = f"The recipe {tmp_path / 'recipe.toml'} is not valid: "
    assert sentence.startswith(start)
    return sentence.removeprefix(start)


def test_phases_start_from_the_shared_tables(tmp_path: Path) -> None:
    head, finetune = read(tmp_path).phase
    assert (head.optim.lr, head.optim.weight_decay) == (3e-3, 0.05)
    assert (finetune.optim.lr, finetune.optim.weight_decay) == (1e-3, 0.05)
    assert finetune.augment == Augment(flip=True, shift=0.1)
    assert head.augment == Augment(), "a head phase trains on features, which cannot be augmented"


def test_the_input_is_what_the_backbone_was_made_for_unless_told(tmp_path: Path) -> None:
    bare = TEXT.replace("[preprocess]\nsize_px = 64\n", "")
    assert read(tmp_path, bare).preprocess.size_px == 224
    inception = read(tmp_path, bare, "network.backbone=inception_v3").preprocess
    assert (inception.size_px, inception.mean) == (299, (0.5, 0.5, 0.5))


def test_normalisation_is_what_imagenet_weights_expect_unless_told(tmp_path: Path) -> None:
    assert (read(tmp_path).preprocess.mean, read(tmp_path).preprocess.std) == (IMAGENET_MEAN, IMAGENET_STD)
    told = read(tmp_path, TEXT, "preprocess.mean=[0.5, 0.5, 0.5]").preprocess
    assert (told.mean, told.std) == ((0.5, 0.5, 0.5), IMAGENET_STD)


def test_an_unfrozen_head_phase_is_augmented_like_the_others(tmp_path: Path) -> None:
    head, _ = read(tmp_path, TEXT, "phase.head.unfreeze=all").phase
    assert head.augment == Augment(flip=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"sed = 1\n{TEXT}", "the key 'sed' is unknown; did you mean 'seed'?."),
        (
            TEXT.replace("weight_decay", "weight_decai"),
            "the key 'phase.0.optim.weight_decai' is unknown; did you mean 'weight_decay'?.",
        ),
        (
            TEXT.replace("shift", "shfit"),
            "the key 'phase.1.augment.shfit' is unknown; did you mean 'shift'?.",
        ),
        (TEXT.replace("epochs = 8", "epoch = 8"), "the key 'phase.1.epochs' is missing."),
        (TEXT.replace("size_px", "sise_px"), "the key 'preprocess.sise_px' is unknown; did you mean 'size_px'?."),
        (TEXT.replace('path = "photos"', ""), "the key 'data.path' is missing."),
        (TEXT.split("[[phase]]", maxsplit=1)[0], "the key 'phase' is missing."),
        (f"phase = []\n{TEXT.split('[[phase]]', maxsplit=1)[0]}", "phase: Tuple should have at least 1 item"),
        (TEXT.replace("finetune", "head"), "two phases have the same name."),
        (TEXT.replace('"12 blocks"', '"12 stages"'), "phase.1.unfreeze: must be 'head', 'all', a number of layers,"),
        (TEXT.replace('"12 blocks"', '"0 blocks"'), "phase.1.unfreeze: must be 'head', 'all', a number of layers,"),
        (TEXT.replace('"12 blocks"', "0"), "phase.1.unfreeze: must be at least 1 layer, or 'head'."),
        (TEXT.replace('"12 blocks"', "true"), "phase.1.unfreeze"),
        (TEXT.replace("size_px", "mean = [123.7, 116.3, 103.5]\nsize_px"), "preprocess.mean.0: Input should be less"),
        (TEXT.replace("size_px", "std = [0.2, 0.0, 0.2]\nsize_px"), "preprocess.std.1: Input should be greater than 0"),
        (TEXT.replace("size_px", "std = [0.2, nan, 0.2]\nsize_px"), "preprocess.std.1: Input should be"),
        (
            TEXT.replace("lr = 1e-3", "lr = 1e-3\nschedule_epochs = 7"),
            "phase.1: optim.schedule_epochs must be 0 or at least the phase's 8 epochs.",
        ),
        (
            TEXT.replace("lr = 1e-3", "lr = 1e-3\nschedule_epochs = 80\nwarmup = 0.1"),
            "phase.0: optim.warmup 0.1 of optim.schedule_epochs 80 is the phase's 5 epochs or more, and optim.lr would",
        ),
        (
            TEXT.replace("epochs = 8", "epochs = 8\nbatch_size = 6\naccumulate = 4"),
            "phase.1: a batch of 6 cannot be cut into 4 parts of two images.",
        ),
        (TEXT.replace("lr = 1e-3", "lr = nan"), "phase.1.optim.lr: Input should be a finite number"),
        (TEXT.replace("lr = 1e-3", "lr = -1.0"), "phase.1.optim.lr: Input should be greater than 0."),
        (TEXT.replace('name = "pets"', 'name = "../pets"'), "name: String should match pattern"),
        (TEXT.replace("[data]", "[data"), "it is not TOML ("),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    assert complaint(tmp_path, text).startswith(sentence)


def test_an_unknown_key_without_a_close_one_lists_the_known(tmp_path: Path) -> None:
    said = complaint(tmp_path, TEXT.replace("[data]", "[data]\nzzz = 1"))
    assert said == (
        "the key 'data.zzz' is unknown; known here are "
        "source, path, validation_fraction, test_fraction, fraction, description, licence."
    )


def test_a_shared_table_that_is_no_table_is_refused_for_what_it_is(tmp_path: Path) -> None:
    assert complaint(tmp_path, f"optim = 3\n{TEXT.replace('[optim]', '[network]').replace('lr = 1e-3', '')}") == (
        "'optim' must be a table."
    )


def test_augmentation_of_a_head_phase_is_refused_unless_it_sees_images(tmp_path: Path) -> None:
    said = complaint(tmp_path, TEXT.replace("optim = { lr = 3e-3 }", "augment = { flip = true }"))
    assert said.startswith("phase.0: a head phase trains on features computed once, so it cannot augment images;")
    head, _ = read(tmp_path, TEXT, "phase.head.cache_features=false").phase
    assert head.augment == Augment(flip=True)


def test_augmentation_that_would_reach_no_phase_is_refused(tmp_path: Path) -> None:
    heads_only = TEXT.rpartition("[[phase]]")[0]
    assert complaint(tmp_path, heads_only).startswith("[augment] reaches no phase")
    without = heads_only.replace("[augment]\nflip = true", "")
    assert read(tmp_path, without).phase[0].augment == Augment()
    assert complaint(tmp_path, without, "augment.flip=true").startswith("--set augment.flip=true reaches no phase")


def test_an_override_of_a_shared_table_reaches_every_phase(tmp_path: Path) -> None:
    phases = read(tmp_path, TEXT, "optim.lr=3e-4", "augment.zoom=0.5").phase
    assert [phase.optim.lr for phase in phases] == [3e-4, 3e-4]
    assert [phase.augment.zoom for phase in phases] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("override", "reached"),
    [
        ("phase.finetune.epochs=1", lambda recipe: recipe.phase[1].epochs == 1),
        ("phase.0.epochs=1", lambda recipe: [phase.epochs for phase in recipe.phase] == [1, 8]),
        ("phase.head.optim.lr=0.5", lambda recipe: [phase.optim.lr for phase in recipe.phase] == [0.5, 1e-3]),
        ("phase.finetune.unfreeze=all", lambda recipe: recipe.phase[1].unfreeze == "all"),
        ("phase.finetune.unfreeze=7", lambda recipe: recipe.phase[1].unfreeze == 7),
        ("seed = 9", lambda recipe: recipe.seed == 9),
        ("data.path=other/photos", lambda recipe: recipe.data.path == Path("other/photos")),
        ('data.description="a = b"', lambda recipe: recipe.data.description == "a = b"),
        ("network.weights=none", lambda recipe: recipe.network.weights == "none"),
    ],
)
def test_an_override_reaches_what_it_names(tmp_path: Path, override: str, reached: Any) -> None:
    assert not reached(read(tmp_path))
    assert reached(read(tmp_path, TEXT, override))


def test_the_last_override_wins(tmp_path: Path) -> None:
    assert read(tmp_path, TEXT, "seed=1", "seed=2").seed == 2
    one_after_all = read(tmp_path, TEXT, "optim.lr=1e-3", "phase.head.optim.lr=5e-3").phase
    assert [phase.optim.lr for phase in one_after_all] == [5e-3, 1e-3]
    table_after_all = read(tmp_path, TEXT, "optim.lr=1e-3", "phase.head.optim={lr=5e-3}").phase
    assert [phase.optim.lr for phase in table_after_all] == [5e-3, 1e-3]
    renamed = read(tmp_path, TEXT, "phase.head.optim.lr=5e-3", "phase.head.name=warm").phase[0]
    assert (renamed.name, renamed.optim.lr) == ("warm", 5e-3)
    all_after_one = read(tmp_path, TEXT, "phase.head.optim.lr=5e-3", "optim.lr=1e-4").phase
    assert [phase.optim.lr for phase in all_after_one] == [1e-4, 1e-4]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed", "--set seed is not of the form KEY=VALUE."),
        ("=3", "--set =3 is not of the form KEY=VALUE."),
        ("phase.nosuch.epochs=1", "--set phase.nosuch.epochs=1 names no phase 'nosuch'."),
        ("phase.2.epochs=1", "--set phase.2.epochs=1 names no phase '2'."),
        ("phase.epochs=1", "--set phase.epochs=1 needs the name of a phase and a key."),
        ("name.first=x", "--set name.first=x: 'name' is not a table."),
        ("optim.lrr=1", "the key 'phase.0.optim.lrr' is unknown; did you mean 'lr'?."),
        ("sed=1", "the key 'sed' is unknown; did you mean 'seed'?."),
        ("seed=many", "seed: Input should be a valid integer"),
    ],
)
def test_an_override_that_cannot_be_is_refused(tmp_path: Path, override: str, sentence: str) -> None:
    assert complaint(tmp_path, TEXT, override).startswith(sentence)


@pytest.mark.parametrize("phases", ["phase = 3", "phase = 'head'", "phase = [1]"])
def test_phases_that_are_no_tables_are_refused(tmp_path: Path, phases: str) -> None:
    text = f"{phases}\n{TEXT.split('[optim]', maxsplit=1)[0]}"
    assert complaint(tmp_path, text).startswith("phase")
    assert complaint(tmp_path, text, "optim.lr=1").startswith("phase")


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(PathNotFound, match=f"There is no recipe at {path}: check the path"):
            load_recipe(path)


def test_a_recipe_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRecipe, match="it is not TOML"):
        load_recipe(path)


def test_a_resolved_recipe_can_be_fed_back(tmp_path: Path) -> None:
    resolved = read(tmp_path)
    assert Recipe.model_validate(resolved.model_dump(mode="json")) == resolved
    assert Recipe.model_validate_json(json.dumps(json.loads(resolved.model_dump_json()))) == resolved


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_project_load(path: Path) -> None:
    assert load_recipe(path).name == path.stem
