"""The page's layout and what happens on it: three tabs over one client."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from demo import words
from linnet_client import Client, FailedPrediction, Model, Prediction, ServiceError

BUTTONS = ["fullscreen", "download"]  # of pictures; none to share: that asks another host
EXAMPLES = sorted(str(path) for path in (Path(__file__).parents[1] / "examples").glob("*.jpg"))
STYLE = Path(__file__).with_name("style.css")
MAX_BATCH = 500
# Uploaded images are deleted a day after they came, looked for once an hour.
DELETE_CACHE_S = (3600, 86_400)

Update = dict[str, Any]


def build_page(client: Client) -> gr.Blocks:
    """Return the page; the models are asked for whenever somebody opens it."""
    with gr.Blocks(title="Linnet", analytics_enabled=False, delete_cache=DELETE_CACHE_S) as page:
        gr.Markdown("# Linnet\nWhich class does an image show? Answered by a Linnet service.")
        choice = gr.Dropdown(label="Model", choices=[], interactive=True, elem_id="model")
        with gr.Tab("One image"):
            _one_image(client, choice)
        with gr.Tab("Many images"):
            _many_images(client, choice)
        with gr.Tab("Model"):
            description, confusion = gr.Markdown(elem_id="about"), gr.HTML(elem_id="confusion")
            choice.change(lambda key: describe(client, key), choice, [description, confusion])
        page.load(lambda: offer_models(client), None, choice)
    return page


def _one_image(client: Client, choice: gr.Dropdown) -> None:
    with gr.Row(elem_id="one"):
        with gr.Column(min_width=280, elem_classes="image"):
            image = gr.Image(
                label="Image",
                type="filepath",
                sources=["upload", "clipboard", "webcam"],
                height=320,
                elem_id="image",
            )
            # gradio would open the file itself; the service decodes it, and nobody before, and says what is wrong.
            # (A subclass would make gradio write a stub file beside this module.)
            image.preprocess = lambda payload: payload.path if payload is not None else None
            gr.Examples(EXAMPLES, image, label="Examples")
        with gr.Column(min_width=280, elem_classes="heat", visible=False) as beside:
            heat = gr.Image(label="What speaks for it", interactive=False, height=320, buttons=BUTTONS, elem_id="heat")
        with gr.Column(min_width=280, elem_classes="answer"):
            verdict = gr.Markdown("Choose an image, paste one, or take a photo.", elem_id="verdict")
            label = gr.Label(label="Most probable classes", num_top_classes=3, show_heading=False, elem_id="top")
            note = gr.Markdown(elem_id="note")
    for event in (image.change, choice.change):
        event(lambda path, key: classify(client, path, key), [image, choice], [verdict, label, note]).then(
            lambda path, key: explain(client, path, key), [image, choice], [beside, heat]
        )


def _many_images(client: Client, choice: gr.Dropdown) -> None:
    files = gr.File(label="Images", file_count="multiple", file_types=["image"], height=160, elem_id="files")
    button = gr.Button("Classify", variant="primary")
    summary = gr.Markdown(f"Up to {MAX_BATCH} images at once.", elem_id="summary")
    gallery = gr.Gallery(
        label="Answers", columns=4, object_fit="cover", visible=False, buttons=BUTTONS, elem_id="gallery"
    )
    table = gr.HTML(visible=False, elem_id="table")
    download = gr.DownloadButton("Download as CSV", visible=False, elem_id="csv")
    folder = tempfile.TemporaryDirectory(prefix="linnet-page-")  # lives as long as the function below

    def answer(paths: list[str] | None, key: str | None, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        return classify_many(client, paths or [], key, Path(folder.name), progress)

    button.click(answer, [files, choice], [summary, gallery, table, download])


def offer_models(client: Client) -> Update:
    """Return the choice of models, the default one first chosen."""
    try:
        ready = [model for model in client.models() if model.is_ready]
    except ServiceError as error:
        raise gr.Error(str(error)) from error
    chosen = next((_key(model) for model in ready if model.default), None)
    update: Update = gr.update(choices=[(words.model_choice(model), _key(model)) for model in ready], value=chosen)
    return update


def classify(client: Client, path: str | None, key: str | None) -> tuple[str, dict[str, float] | None, str]:
    """Return the verdict, the bars and the footnote for an image; what went wrong is said in their place."""
    if path is None or key is None:
        return "Choose an image, paste one, or take a photo.", None, ""
    name, version = _name_and_version(key)
    try:
        prediction = client.predict(path, model=name, version=version, top_k=words.SHOWN_CLASSES)
    except ServiceError as error:
        return str(error), None, ""
    return words.verdict(prediction), words.bars(prediction), words.footnote(prediction)


def explain(client: Client, path: str | None, key: str | None) -> tuple[Update, Image.Image | None]:
    """Show what speaks for the most probable class, or nothing where there is no explanation."""
    if path is None or key is None:
        return gr.update(visible=False), None
    name, version = _name_and_version(key)
    try:
        picture = Image.open(BytesIO(client.explain_png(path, model=name, version=version)))
    except ServiceError:
        return gr.update(visible=False), None
    return gr.update(visible=True), picture


def classify_many(
    client: Client, paths: Sequence[str], key: str | None, folder: Path, progress: gr.Progress
) -> list[Any]:
    """Return summary, gallery, table and CSV of many images."""
    if not paths or key is None or len(paths) > MAX_BATCH:
        return [f"Choose between 1 and {MAX_BATCH} images.", *(gr.update(visible=False) for _ in range(3))]
    name, version = _name_and_version(key)
    results: list[Prediction | FailedPrediction] = []
    try:
        for result in client.predict_many(paths, model=name, version=version, top_k=1):
            results.append(result)
            progress((len(results), len(paths)), unit="images")
    except ServiceError as error:
        raise gr.Error(str(error)) from error
    with tempfile.NamedTemporaryFile("w", suffix=".csv", dir=folder, delete=False, encoding="utf-8") as file:
        file.write(words.as_csv(results))
    shown = [
        (path, words.caption(result))
        for path, result in zip(paths, results, strict=True)
        if isinstance(result, Prediction)
    ]
    failed = len(results) - len(shown)
    return [
        f"{len(results)} images, {failed} of them not read." if failed else f"{len(results)} images.",
        gr.update(visible=True, value=shown),
        gr.update(visible=True, value=words.results_table(results)),
        gr.update(visible=True, value=file.name),
    ]


def describe(client: Client, key: str | None) -> tuple[str, str]:
    """Return the description of a model and its confusion matrix."""
    if key is None:
        return "", ""
    try:
        model = client.model(*_name_and_version(key))
    except ServiceError as error:
        return str(error), ""
    return words.about(model), words.confusion_table(model)


def _key(model: Model) -> str:
    return f"{model.name}/{model.version}"


def _name_and_version(key: str) -> tuple[str, str]:
    name, _, version = key.partition("/")
    return name, version
