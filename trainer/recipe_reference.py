"""Every key of a recipe as a Markdown page, from the models that read it: `python -m trainer.recipe_reference`.

Must not import torch.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from linnet.preprocess import PreprocessSpec
from trainer.recipe import Augment, Compute, Data, Evaluate, Network, Optim, Phase, Recipe, Tracking

INTRODUCTION = """# The recipe

A TOML file that decides a run. Unknown keys are refused; what is left out has the default below, and the run records
the recipe with nothing left implicit. `--set KEY=VALUE` overrides any key: `--set optim.lr=3e-4` in every phase,
`--set phase.head.epochs=3` in one. This page is generated: `python -m trainer.recipe_reference > docs/recipe.md`.
"""

TABLES: dict[str, tuple[type[BaseModel], str]] = {
    "At the top": (Recipe, ""),
    "[data]": (Data, ""),
    "[preprocess]": (PreprocessSpec, "`size_px`, `mean` and `std` default to what the backbone was made for."),
    "[network]": (Network, ""),
    "[compute]": (Compute, ""),
    "[[phase]]": (Phase, "Phases are carried out in their order; each begins with what the one before it left."),
    "[optim]": (Optim, "What every phase starts from; a phase overrides keys in its own `optim` table."),
    "[augment]": (
        Augment,
        "What every phase that sees images starts from; a phase overrides keys in its own `augment` table.",
    ),
    "[evaluate]": (Evaluate, ""),
    "[tracking]": (Tracking, ""),
}
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def recipe_reference() -> str:
    """Return the page."""
    return INTRODUCTION + "".join(_section(title, *table) for title, table in TABLES.items())


def _section(title: str, model: type[BaseModel], note: str) -> str:
    schema = model.model_json_schema()
    required = schema.get("required", [])
    lines = [f"\n## {title}\n", *([f"{note}\n"] if note else []), "| Key | Value | Default | |", "|---|---|---|---|"]
    for key, field in schema["properties"].items():
        if "description" in field:  # the others are tables, with a section of their own
            unset = key in required or field["default"] is None
            default = "" if unset else f"`{json.dumps(field['default'], ensure_ascii=False)}`"
            lines.append(f"| `{key}` | {_value(field)} | {default} | {field['description']} |")
    return "\n".join(lines) + "\n"


def _value(field: dict[str, Any]) -> str:
    """Say in words which values a field takes."""
    if "anyOf" in field:
        return " or ".join(_value(choice) for choice in field["anyOf"] if choice != {"type": "null"})
    if "enum" in field:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in field["enum"])
    if "pattern" in field:
        return f"string of the form `{field['pattern']}`"
    if field["type"] == "array":
        return f"list of {_value((field.get('prefixItems') or [field['items']])[0])}"
    bounds = [f"{sign} {field[name]:g}" for name, sign in SIGNS.items() if name in field]
    return " ".join([field["type"], ", ".join(bounds)]).strip()


if __name__ == "__main__":
    print(recipe_reference(), end="")  # noqa: T201
