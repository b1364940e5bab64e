"""A page as Markdown beside a folder of pictures, and as one HTML file that asks nothing of any other place."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import jinja2

from trainer.disk import replace_file
from trainer.report.page import Page, Picture, Table

PLOTS_FOLDER = "plots"
FULL_DISK_ADVICE = "free some and ask for the page again"
_TEMPLATES = Path(__file__).parent / "templates"


def render_html(page: Page) -> str:
    """Return the page as one HTML document, pictures inside."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["as_data"] = _as_data
    return environment.get_template("page.html.j2").render(page=page)


def render_markdown(page: Page) -> str:
    """Return the page as Markdown that finds its pictures in `plots/`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["as_table"] = markdown_table
    text = environment.get_template("page.md.j2").render(page=page, folder=PLOTS_FOLDER)
    return text.strip() + "\n"


def markdown_table(table: Table) -> str:
    """Return a table in Markdown."""
    rule = [":--" if column < table.left else "--:" for column in range(len(table.header))]
    return "\n".join(_row(cells) for cells in (table.header, rule, *table.rows))


def write_pictures(directory: Path, pictures: Sequence[Picture]) -> None:
    """Write the pictures of a page into `directory/plots/`."""
    folder = directory / PLOTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        replace_file(folder / f"{picture.name}.png", picture.png, FULL_DISK_ADVICE)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _as_data(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"
