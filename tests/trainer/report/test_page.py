"""Markdown and HTML say the same, and names that look like markup stay names."""

from __future__ import annotations

from trainer.report.page import Code, Notice, Page, Section, Table, Text
from trainer.report.render import markdown_table, render_html, render_markdown
from trainer.report.wording import amount, duration, percent

PAGE = Page(
    title="cats <b>& dogs</b>",
    subtitle="two | classes",
    figures=[("accuracy", "90 %")],
    sections=[
        Section("How it went", [Text("one < two"), Notice("gone"), Table(("Name", "N"), [("<i>", "3")]), Code("a  b")])
    ],
)


def test_html_escapes_what_people_name() -> None:
    html = render_html(PAGE)
    assert "<h1>cats &lt;b&gt;&amp; dogs&lt;/b&gt;</h1>" in html
    assert '<td class="left">&lt;i&gt;</td><td>3</td>' in html
    assert 'href="#how-it-went"' in html
    assert '<section id="how-it-went">' in html
    assert '<p class="notice">gone</p>' in html


def test_markdown_has_the_same_parts() -> None:
    text = render_markdown(PAGE)
    assert text.startswith("# cats <b>& dogs</b>\n\ntwo | classes\n")
    assert "- accuracy: **90 %**" in text
    assert "| Name | N |\n| :-- | --: |\n| <i> | 3 |" in text
    assert "> gone" in text
    assert "```\na  b\n```" in text


def test_a_bar_in_a_cell_stays_in_its_cell() -> None:
    assert markdown_table(Table(("A",), [("x|y",)])) == "| A |\n| :-- |\n| x\\|y |"


def test_numbers_are_written_for_people() -> None:
    assert percent(0.90876) == "90.88 %"
    assert [duration(seconds) for seconds in (0.44, 9.94, 47, 59.7, 725, 3600, 5460)] == [
        "0.4 s", "9.9 s", "47 s", "60 s", "12 min 5 s", "1 h 0 min", "1 h 31 min"
    ]  # fmt: skip
    assert [amount(number) for number in (18, 2_240_000, 613e6, 1.234e9)] == ["18", "2.24 M", "613 M", "1.23 G"]
