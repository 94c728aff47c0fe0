"""docs/configuration.md lists every key and variable as the schemas have it; the other page's YAML is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlops_cli.config.schemas.descriptions import schema_keys
from mlops_cli.config.schemas.project import BaseFile, ModelFile, Params, Scenario
from mlops_cli.config.settings import Settings
from mlops_cli.config.yaml_files import parse_yaml

DOCS = Path(__file__).resolve().parents[4] / "docs"
SECTIONS = {
    "params.yaml": Params,
    "configs/&lt;team": ModelFile,
    "configs/base.yaml": BaseFile,
    "simulation/": Scenario,
}


def rows(section: str) -> list[str]:
    (text,) = [part for part in (DOCS / "configuration.md").read_text().split("\n## ") if part.startswith(section)]
    return [line for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_with_its_default(section):
    described = list(schema_keys(SECTIONS[section]))
    if section == "configs/base.yaml":
        described = [key for key in described if not key.path.startswith(("feature_sets.", "features."))]
    assert rows(section) == [
        f"| `{key.path}` | {key.takes} | {key.default or 'must be given'} | {key.description} |" for key in described
    ]


def test_every_variable():
    fields = Settings.model_fields.values()
    assert rows(".env") == [f"| `{field.validation_alias}` | {field.description} |" for field in fields]


def test_the_yaml_of_the_guide_is_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "adding-a-stock.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names = [ModelFile.model_validate(parse_yaml(block)).all_tickers for block in blocks]
    assert all("TSLA" in tickers for tickers in names)
