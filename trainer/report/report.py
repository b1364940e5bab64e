"""The report of a run: `report.md` with its pictures in `plots/`, and the same as one file, `report.html`."""

from __future__ import annotations

from pathlib import Path

from linnet.bundle import to_json
from trainer.disk import replace_file
from trainer.progress import Reporter
from trainer.report.architecture import network_section
from trainer.report.images import data_section
from trainer.report.insight import insight_section
from trainer.report.material import Absent, Material, gather
from trainer.report.page import Code, Page, Section, Text
from trainer.report.render import FULL_DISK_ADVICE, render_html, render_markdown, write_pictures
from trainer.report.results import confidence_section, mistakes_section, results_section
from trainer.report.training import training_section
from trainer.report.wording import amount, duration, interval, percent

REPORT_HTML = "report.html"
REPORT_MARKDOWN = "report.md"


def write_report(directory: Path, *, layer: str | None = None) -> Path:
    """Write the report of a finished run into its folder and return the HTML file; progress goes to stderr.

    `layer` is the one whose feature maps are shown. What is missing (the images, the weights that the training
    started from) is said in the report, and the rest is shown. Nothing is written unless the whole report was made.
    Raises `RunNotFound`, `InvalidRun` or `UnknownLayer`.
    """
    with Reporter() as reporter:
        page = report_page(gather(directory, reporter), layer)
    html, markdown = render_html(page), render_markdown(page)
    write_pictures(directory, page.pictures)
    replace_file(directory / REPORT_MARKDOWN, markdown.encode(), FULL_DISK_ADVICE)
    replace_file(directory / REPORT_HTML, html.encode(), FULL_DISK_ADVICE)
    return directory / REPORT_HTML


def report_page(material: Material, layer: str | None = None) -> Page:
    """Compose the report of a run. Raises `UnknownLayer`."""
    record, evaluated = material.record, material.evaluated
    sections = [results_section(material)]
    if not isinstance(evaluated, Absent):
        sections += [confidence_section(evaluated), mistakes_section(material, evaluated)]
    sections += [training_section(material), data_section(material), network_section(material)]
    if not isinstance(evaluated, Absent):
        sections.append(insight_section(material, evaluated, layer))
    sections.append(_origin_section(material))
    described = record.recipe.data.description or record.recipe.data.path.name
    return Page(
        title=f"{record.name}: {record.backbone}",
        subtitle=f"{record.preprocess.size_px} px, {len(record.classes)} classes. {described}",
        sections=sections,
        figures=_figures(material),
    )


def _figures(material: Material) -> list[tuple[str, str]]:
    record, evaluated = material.record, material.evaluated
    if isinstance(evaluated, Absent):
        return [("test accuracy", percent(record.metrics["test"].accuracy)), ("training", duration(record.seconds))]
    test, cost = evaluated.evaluation.test, evaluated.evaluation.cost
    return [
        (f"test accuracy ({test.correct:,} of {test.n:,}; 95 %: {interval(test)})", percent(test.accuracy)),
        ("macro F1", f"{test.macro.f1:.4f}"),
        ("calibration error", f"{test.calibration_error:.4f}"),
        ("parameters", amount(cost.parameters)),
        ("FLOPs per image", amount(cost.flops)),
        ("training", duration(record.seconds)),
    ]


def _origin_section(material: Material) -> Section:
    record = material.record
    versions = ", ".join(f"{name} {version}" for name, version in record.libraries.items())
    text = f"Seed {record.seed}, {record.device}, code {record.git_revision or 'outside git'}. {versions}."
    return Section("How it was made", [Text(text), Code(to_json(record.recipe))])
