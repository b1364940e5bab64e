"""The page on recipes says what the code reads."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from tests.service.running import ROOT
from trainer.recipe import Recipe
from trainer.recipe_reference import TABLES, recipe_reference


def test_the_page_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert page == recipe_reference(), "run `python -m trainer.recipe_reference > docs/recipe.md`"


def test_no_table_of_the_recipe_is_left_out() -> None:
    described = {model.__name__ for model, _ in TABLES.values()}
    assert described == {"Recipe", *Recipe.model_json_schema()["$defs"]}


@pytest.mark.parametrize("title", TABLES)
def test_every_key_is_described(title: str) -> None:
    model, _ = TABLES[title]
    page = recipe_reference()
    for key, field in model.model_fields.items():
        if field.description is None:
            assert isinstance(field.default, BaseModel) or key in ("data", "preprocess", "phase"), f"{title} {key}"
        else:
            assert f"| `{key}` | " in page
            assert field.description in page
