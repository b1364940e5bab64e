"""A manifest comes back from its file as it was, and one without sense is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from linnet.bundle import MANIFEST_FILE, read_manifest, to_json
from linnet.errors import InvalidManifest
from linnet.manifest import Manifest, Precision, Tensor
from tests.linnet.manifests import CLASSES, CONTENTS, manifest

RULE = {
    "score": "energy",
    "threshold": -3.5,
    "true_positive_rate": 0.95,
    "flagged": 0.04,
    "candidates": {"energy": 0.9},
}
CONFUSION = [[3, 0, 0], [0, 4, 1], [0, 0, 2]]


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_manifest_comes_back_as_it_was(bundle: Path) -> None:
    assert read_manifest(bundle) == manifest(CONTENTS)


names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True)
probability = st.floats(0.0, 1.0)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    precisions: list[Precision] = draw(
        st.lists(st.sampled_from(["fp32", "int8", "fp16"]), min_size=1, max_size=3, unique=True)
    )
    classes = draw(st.lists(st.text(), min_size=2, max_size=5, unique=True))
    rows = st.lists(probability, min_size=len(classes), max_size=len(classes))
    base = manifest(dict.fromkeys(precisions, b"x"))
    document = base.model_dump()
    document |= {
        "name": draw(names),
        "version": draw(st.integers(1, 10**6)),
        "classes": classes,
        "self_test": [
            {**document["self_test"][0], "probabilities": {precision: draw(rows) for precision in precisions}}
            for _ in range(draw(st.integers(1, 3)))
        ],
        "licence": draw(st.text()),
    }
    document["provenance"]["recipe"] = draw(st.dictionaries(st.text(), json_values, max_size=4))
    document["variants"][0]["calibration"]["temperature"] = draw(st.floats(1e-3, 1e3))
    return Manifest.model_validate(document)


# Lone surrogates are no Unicode text: JSON files are UTF-8.
@settings(max_examples=60, deadline=None)
@given(manifests())
def test_every_manifest_survives_its_file(original: Manifest) -> None:
    text = to_json(original)
    assert Manifest.model_validate_json(text.encode("utf-8")) == original
    assert to_json(Manifest.model_validate_json(text)) == text


@pytest.mark.parametrize(
    "place",
    [(), ("preprocess",), ("parity",), ("input",), ("provenance",), ("variants", 0), ("variants", 0, "metrics"),
     ("variants", 0, "calibration"), ("outputs", 0), ("self_test", 0)],
    ids=str,
)  # fmt: skip
def test_an_unknown_key_is_refused_wherever_it_is(bundle: Path, place: tuple[str | int, ...]) -> None:
    def add_key(document: Any) -> None:
        for step in place:
            document = document[step]
        document["colour"] = "blue"

    edit(bundle, add_key)
    with pytest.raises(InvalidManifest, match="colour"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.update(classes=["cat", "cat", "newt"]), "two classes have the same name"),
        (lambda d: d.update(classes=["cat", "dog"]), "one probability per class"),
        (lambda d: d.update(classes=["cat"]), "classes"),
        (lambda d: d.update(variants=d["variants"][:1] * 2), "same precision"),
        (lambda d: d.update(variants=d["variants"][:1]), "exactly the variants"),
        (lambda d: d.update(variants=[]), "variants"),
        (lambda d: d.update(self_test=[]), "self_test"),
        (lambda d: d.update(format_version=3), "format_version"),
        (lambda d: d["variants"][0].update(abstain=RULE), "needs the output 'uncertainty'"),
        (lambda d: d["variants"][0].update(abstain=RULE | {"score": "feeling"}), "score"),
        (lambda d: d.update(version=0), "version"),
        (lambda d: d.update(name="../pets"), "name"),
        (lambda d: d["variants"][0].update(file="../model.onnx"), "file"),
        (lambda d: d["variants"][0].update(sha256="0"), "sha256"),
        (lambda d: d["variants"][0]["metrics"].update(accuracy=1.1), "accuracy"),
        (lambda d: d["variants"][0]["metrics"].update(accuracy_high=1.1), "accuracy_high"),
        (lambda d: d["variants"][0]["metrics"].update(confusion=[[5, 1], [0, 4]]), "one row per class"),
        (lambda d: d["variants"][0]["metrics"].update(confusion=[[9, 0, 0], [1, 0, 0]]), "is not square"),
        (lambda d: d["variants"][0]["metrics"].update(confusion=[[9, 0, 0]] * 3), "does not count n images"),
        (lambda d: d["variants"][0]["metrics"].update(confusion=[[8, 2, 0], [0] * 3, [0] * 3]), "the correct ones"),
        (lambda d: d["variants"][0]["metrics"].update(confusion=[[9, 2, -1], [0] * 3, [0] * 3]), "confusion"),
        (lambda d: d["variants"][0]["calibration"].update(temperature=0), "temperature"),
        (lambda d: d["self_test"][0].update(image_png="not base64!"), "image_png"),
        (lambda d: d.pop("preprocess"), "preprocess"),
    ],
)
def test_a_manifest_without_sense_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    edit(bundle, change)
    with pytest.raises(InvalidManifest, match=complaint):
        read_manifest(bundle)


def test_a_confusion_matrix_may_be_stated_and_comes_back(bundle: Path) -> None:
    edit(bundle, lambda document: document["variants"][0]["metrics"].update(confusion=CONFUSION))
    stated, older = (variant.metrics for variant in read_manifest(bundle).variants)
    assert stated.confusion == tuple(map(tuple, CONFUSION))
    assert older.confusion is None
    assert Manifest.model_validate_json(to_json(read_manifest(bundle))) == read_manifest(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format_version": NaN}'])
def test_a_manifest_that_is_no_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(InvalidManifest):
        read_manifest(bundle)


def test_infinity_is_no_metric() -> None:
    variant = manifest({"fp32": b"x"}).variants[0].model_dump()
    with pytest.raises(ValidationError):
        manifest({"fp32": b"x"}, variants=[variant | {"calibration": {"temperature": float("inf")}}])


def test_a_bundle_of_format_1_is_read_as_one_of_format_2(bundle: Path) -> None:
    """It stated one calibration for all variants, no rule to abstain, and no gates."""

    def to_format_1(document: dict[str, Any]) -> None:
        document |= {"format_version": 1, "calibration": {"temperature": 1.7}}
        del document["gates"]
        for variant in document["variants"]:
            del variant["calibration"], variant["abstain"], variant["quantisation"]
            for name in ("f1", "accuracy_low", "accuracy_high", "confusion"):
                del variant["metrics"][name]

    edit(bundle, to_format_1)
    read = read_manifest(bundle)
    assert read.format_version == 2
    assert [variant.calibration.temperature for variant in read.variants] == [1.7, 1.7]
    assert {(v.metrics.f1, v.metrics.accuracy_low, v.metrics.confusion) for v in read.variants} == {(None, None, None)}
    assert [variant.is_uncertain(1e9) for variant in read.variants] == [False, False]
    assert Manifest.model_validate_json(to_json(read)) == read


def test_an_answer_is_uncertain_above_the_threshold() -> None:
    outputs = [*manifest({"fp32": b"x"}).outputs, Tensor(name="uncertainty", dtype="float32", shape=(-1,))]
    variant = manifest({"fp32": b"x"}).variants[0].model_dump() | {"abstain": RULE}
    ruled = manifest({"fp32": b"x"}, variants=[variant], outputs=outputs).variants[0]
    assert [ruled.is_uncertain(value) for value in (-3.6, -3.5, -3.4, None)] == [False, False, True, False]


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        manifest(CONTENTS).version = 2  # type: ignore[misc]


def test_a_variant_is_found_by_its_precision() -> None:
    described = manifest(CONTENTS)
    assert (described.variant("int8"), described.variant("fp16")) == (described.variants[1], None)


def test_json_is_for_people() -> None:
    text = to_json(manifest(CONTENTS, classes=("chat", "chien", "écureuil")))
    assert text.endswith("}\n")
    assert "écureuil" in text
    assert len(CLASSES) == len(json.loads(text)["classes"])
