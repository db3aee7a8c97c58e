"""What programs write into a configuration is what is read from it."""

import tomllib

import pytest

from appliance.config.written import toml


@pytest.mark.parametrize(
    "text", ['a "b" \\ c', "two\nlines", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "\N{KEY}"]
)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    assert tomllib.loads(toml({"box": {"key": text}, "rules": [{"name": text}]})) == {
        "box": {"key": text},
        "rules": [{"name": text}],
    }
