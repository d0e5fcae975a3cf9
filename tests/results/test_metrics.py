"""What the registry of metrics says, and how numbers are written."""

from __future__ import annotations

import pytest

from dimvida.results.metrics import (
    ACCURACY,
    DASH,
    METRICS,
    in_order,
    metric,
    p_statement,
    p_value,
    percent,
    points,
    significant,
)


def test_headings_units_and_directions():
    assert (metric("psnr").heading, metric("psnr").arrow, metric("psnr").direction) == (
        "PSNR, dB",
        "↑",
        "higher is better",
    )
    assert (metric("lpips").arrow, metric("fid").direction) == ("↓", "lower is better")
    assert metric("feature_frechet").short_heading == "feature_frechet" and "not FID" in metric("feature_frechet").title
    assert all(METRICS[name].name == name and METRICS[name].better for name in METRICS)


def test_a_metric_that_is_not_in_the_registry_has_no_direction():
    unknown = metric("vmaf")
    assert (unknown.heading, unknown.arrow, unknown.direction, unknown.better) == ("vmaf", "", "", None)
    assert unknown.number(81.5) == "81.500"


@pytest.mark.parametrize(
    ("name", "value", "number", "quantity"),
    [("psnr", -1.234, "−1.23", "−1.23 dB"), ("coherence", 0.8912, "89.1", "89.1 %"), ("ssim", 0.9, "0.900", "0.900")],
)
def test_numbers(name: str, value: float, number: str, quantity: str):
    assert (metric(name).number(value), metric(name).quantity(value)) == (number, quantity)


def test_names_are_brought_into_order_once_each():
    assert in_order(["vmaf", "fid", "psnr", "fid", "abc"]) == ["psnr", "fid", "vmaf", "abc"]


def test_probabilities_and_differences():
    assert [p_value(p) for p in (None, 1e-9, 0.0026, 1.0)] == [DASH, "< 0.001", "0.003", "1.000"]
    assert [p_statement(p) for p in (0.0009, 0.0026)] == ["p < 0.001", "p = 0.003"]
    assert (points(0.0375), points(-0.1)) == ("+3.8", "−10.0") and ACCURACY.number(0.8389) == "83.9"


@pytest.mark.parametrize(
    ("share", "digits", "text"), [(0.1249, 1, "12.5 %"), (0.876, 0, "88 %"), (-0.002, 1, "−0.2 %"), (1.5, 0, "150 %")]
)
def test_shares_in_percent(share: float, digits: int, text: str):
    assert percent(share, digits) == text


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")])
def test_three_significant_digits(value: float, text: str):
    assert significant(value) == text
