"""Sizes, rates and times: what people write, and what is refused with a hint."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.units import duration, rate, show_duration, show_rate, show_size, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512MiB", 512 * 2**20), ("64k", 65536), ("1.5 GB", 1_500_000_000), (4096, 4096), ("0", 0), ("7b", 7)],
)
def test_size(text: object, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("20mbit", 2_500_000), ("1gbit", 125_000_000), ("1.5MB/s", 1_500_000), (100, 100)]
)
def test_rate(text: object, expected: int) -> None:
    assert rate(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("80ms", 0.08), ("2min", 120.0), (0.25, 0.25), ("1h", 3600.0), ("5us", 5e-6)]
)
def test_duration(text: object, expected: float) -> None:
    assert duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("parse", [size, rate, duration])
@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "fast",
        "-5",
        "5 parsecs",
        "1e5",
        "٣",
        "5\n5",
        True,
        None,
        [],
        -1,
        float("nan"),
        float("inf"),
        2**80,
    ],
)
def test_wrong_values_are_refused_with_a_hint(parse: object, wrong: object) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match=r"write it like|the units are"):
        parse(wrong)


@given(st.text("0123456789.eE-+ kKmMiIbBsht/µ٣\n") | st.integers() | st.floats() | st.none() | st.booleans())
def test_anything_is_parsed_or_refused(value: object) -> None:
    for parse in (size, rate, duration):
        with contextlib.suppress(ValueError):
            assert 0 <= parse(value) <= 2**62


@given(st.integers(0, 2**50))
def test_a_shown_size_reads_back_as_nearly_the_same(count: int) -> None:
    assert size(show_size(count)) == pytest.approx(count, rel=0.006, abs=0.5)


@given(st.floats(1000, 1e10))
def test_a_shown_rate_reads_back_as_nearly_the_same(speed: float) -> None:
    shown = show_rate(speed)
    assert float(shown.split()[0]) * 1e6 / 8 == pytest.approx(speed, rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.00025, "250 µs"),
        (0.0811, "81.1 ms"),
        (2.5, "2.5 s"),
        (42.4, "42 s"),
        (300, "5 min"),
        (12000, "3 h 20 min"),
        (1_000_000, "11 d 13 h"),
    ],
)
def test_durations_for_a_person(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
