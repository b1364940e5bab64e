"""The reference page says everything that is there."""

from __future__ import annotations

import pytest

from service import reference
from service.metrics import Metrics
from service.problems import PROBLEMS
from service.settings import variables
from tests.service.running import ROOT

PAGE = ROOT / "docs" / "service.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.page(), "run: python -m service.reference > docs/service.md"


@pytest.mark.parametrize("name", [*variables(), *(f"`{problem.code}`" for problem in PROBLEMS.values())])
def test_every_setting_and_code_is_on_it(name: str) -> None:
    assert name in PAGE.read_text(encoding="utf-8")


def test_every_metric_is_on_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    families = [family for family in Metrics().registry.collect() if family.name.startswith("linnet_")]
    assert len(families) > 15
    assert [family.name for family in families if f"`{family.name}" not in text] == []
