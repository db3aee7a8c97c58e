"""docs/CONFIG.md says what the code does."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from appliance.config import schema
from appliance.config.document import markdown
from appliance.config.verify import field_facts

ROOT = Path(__file__).parents[4]


def test_the_page_is_the_schema() -> None:
    page = (ROOT / "docs" / "CONFIG.md").read_text()
    assert page == markdown(), "run `python -m appliance.config.document > docs/CONFIG.md`"


@pytest.mark.parametrize("section", [schema.Box, schema.Peer, schema.Rule, schema.Limits, schema.Config])
def test_every_field_has_a_sentence_and_every_number_a_unit_and_a_range(section: type[schema.Config]) -> None:
    for name, facts in field_facts(section).items():
        assert facts["description"].endswith("."), name
        default = next(field.default for field in msgspec.structs.fields(section) if field.name == name)
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert facts["unit"], name
            assert facts["at_least"] <= default <= facts["at_most"], name


def test_the_page_names_every_field_of_the_examples() -> None:
    page = (ROOT / "docs" / "CONFIG.md").read_text()
    for example in (ROOT / "examples").iterdir():
        tree = tomllib.loads(example.read_text())
        for section in tree.values():
            for table in section if isinstance(section, list) else [section]:
                assert all(f"| `{field}` |" in page for field in table)
