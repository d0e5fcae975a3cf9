"""Intervals: against formulas, and by how often they hold."""

from __future__ import annotations

import json
import math

import pytest
import torch
from scipy.stats import t as student

from dimvida.evaluation.estimates import Tally, estimate_by_jackknife, estimate_mean
from dimvida.records import to_json
from dimvida.results.schema import Estimate


def test_no_freedom_no_interval():
    single = estimate_mean(torch.tensor([6.0], dtype=torch.float64), torch.tensor([3]))
    assert (single.mean, single.count) == (2.0, 3)
    assert to_json(single) == {"mean": 2.0, "standard_error": None, "low": None, "high": None, "count": 3}


def test_an_interval_worked_out_by_hand():
    # Object means 20, 23 and 26 of four pictures each: standard deviation 3, two degrees of freedom.
    estimate = estimate_mean(torch.tensor([80.0, 92.0, 104.0], dtype=torch.float64), torch.tensor([4, 4, 4]))
    half = 4.30265 * 3 / math.sqrt(3)
    assert (estimate.mean, estimate.count) == (23.0, 12)
    assert (estimate.low, estimate.high) == pytest.approx((23 - half, 23 + half), rel=1e-5)


def test_the_standard_error_of_one_picture_of_each_object_is_the_usual_one():
    values = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    estimate = estimate_mean(values, torch.ones(50, dtype=torch.int64))
    assert estimate.standard_error == pytest.approx((values.std() / math.sqrt(50)).item())


def test_objects_without_pictures_do_not_count():
    sums, counts = torch.tensor([80.0, 0.0, 104.0], dtype=torch.float64), torch.tensor([4, 0, 4])
    assert estimate_mean(sums, counts) == estimate_mean(sums[[0, 2]], counts[[0, 2]])


def test_nothing_to_average_is_null_in_json():
    nothing = estimate_mean(torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.int64), equal=8)
    text = json.dumps(to_json(nothing), allow_nan=False)
    assert json.loads(text) == {
        "mean": None, "standard_error": None, "low": None, "high": None, "count": 0, "equal": 8
    }  # fmt: skip


@pytest.mark.parametrize("objects", [5, 40])
def test_intervals_of_means_hold_as_often_as_they_say(objects: int):
    generator = torch.Generator().manual_seed(objects)
    trials, held = 1000, 0
    for _ in range(trials):
        # Four pictures of an object have much in common; counted as independent, they would hold half as often.
        values = torch.randn(objects, 1, generator=generator) + 0.3 * torch.randn(objects, 4, generator=generator)
        values = values.double()
        estimate = estimate_mean(values.sum(1), torch.full((objects,), 4))
        held += estimate.low <= 0 <= estimate.high
    # Three standard errors of a proportion of 1000 around 95 %.
    assert 0.929 <= held / trials <= 0.971


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left_out = [float(torch.cat([values[:i], values[i + 1 :]]).mean()) for i in range(10)]
    estimate = estimate_by_jackknife(float(values.mean()), left_out, 10)
    assert estimate.standard_error == pytest.approx(float(values.std()) / math.sqrt(10))
    half = student.ppf(0.975, 9) * estimate.standard_error
    assert (estimate.low, estimate.high) == pytest.approx((estimate.mean - half, estimate.mean + half), rel=1e-3)


def test_one_group_has_no_interval():
    estimate = estimate_by_jackknife(1.5, [1.0], 7)
    assert (estimate.mean, estimate.count) == (1.5, 7) and math.isnan(estimate.low)


def test_a_tally_has_every_mean():
    tally = Tally(3, 4, count_equal=True)
    inf, nan = math.inf, math.nan
    tally.add(slice(0, 2), torch.tensor([1, 3]), torch.tensor([[1.0, 3.0], [5.0, inf]], dtype=torch.float64))
    tally.add(slice(2, 3), torch.tensor([0, 1]), torch.tensor([[nan, 9.0]], dtype=torch.float64))
    tally.add(slice(0, 2), torch.tensor([1, 2]), torch.tensor([[2.0, 4.0], [6.0, 8.0]], dtype=torch.float64))

    def facts(estimate: Estimate) -> tuple[float, int, int | None]:
        return estimate.mean, estimate.count, estimate.equal

    assert facts(tally.estimate()) == (38 / 8, 8, 1)
    assert facts(tally.estimate(views=[1])) == (23 / 5, 5, 0)
    assert facts(tally.estimate(views=[3])) == (3.0, 1, 1)
    assert facts(tally.estimate(objects=torch.tensor([False, True, True]))) == (28 / 4, 4, 1)
    assert facts(tally.estimate(views=[1, 3])) == (26 / 6, 6, 1)
    assert math.isnan(tally.estimate(views=[0]).mean)
    assert tally.object_means().tolist() == [10 / 4, 19 / 3, 9.0]


def test_a_tally_of_squares_estimates_the_root_of_their_mean():
    tally, squares = Tally(4, 1, root=True), Tally(4, 1)
    for each in (tally, squares):
        each.add(slice(0, 4), torch.tensor([0]), torch.tensor([[0.0], [0.04], [0.09], [0.16]], dtype=torch.float64))
    root, square = tally.estimate(), squares.estimate()
    assert root.mean == pytest.approx(0.0725**0.5) and root.count == 4
    assert (root.low, root.high) == pytest.approx((max(square.low, 0) ** 0.5, square.high**0.5))
    assert root.standard_error == pytest.approx(square.standard_error / 2 / root.mean)
    assert math.isnan(tally.estimate(objects=torch.zeros(4, dtype=torch.bool)).mean)
    assert math.isnan(tally.estimate(objects=torch.arange(4) == 1).low)


def test_an_object_whose_pictures_are_all_right_is_the_best():
    tally = Tally(1, 2, count_equal=True)
    tally.add(slice(0, 1), torch.tensor([0, 1]), torch.full((1, 2), math.inf, dtype=torch.float64))
    assert tally.object_means().tolist() == [math.inf]
