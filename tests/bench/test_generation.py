"""Arithmetic of runs of mass generation, and the inputs that are repeated for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dimvida.bench import generation
from dimvida.bench.generation import growth, repeated_inputs
from dimvida.data.opening import open_source
from dimvida.errors import InputError
from dimvida.results.generation import RunTimes


def test_the_busiest_lane_bounds_a_run():
    stages = {"read": 1.0, "encode": 2.0, "sample": 3.0, "decode": 1.0, "pack": 28.0, "write": 4.0}
    run = RunTimes("npy", 4, 2, 10, 30, 10.0, stages, 99, packers=4)
    assert run.lanes == {"reader": 0.1, "model": 0.6, "packers": 0.7, "writer": 0.4}
    assert run.bound_by == "packers"


def test_growth_is_from_the_second_tenth_to_the_last_fifth():
    assert growth([100] * 100) == growth([100]) == 0
    assert growth([100 + (place >= 80) * 7 for place in range(100)]) == pytest.approx(0.07)
    assert growth([900 if place < 5 else 100 for place in range(100)]) == 0


@pytest.mark.parametrize("form", ["files", "npy"])
def test_repeated_inputs_are_copies_of_the_known_view(write_objects, tmp_path: Path, monkeypatch, form: str):
    objects = write_objects(tmp_path / "objects", dict.fromkeys(("chair/a", "chair/b", "table/c"), ("front", "back")))
    monkeypatch.setattr(generation, "INPUT_SHARD", 4)
    source = open_source(objects)
    with repeated_inputs(source, "back", 7, form) as folder:
        repeated = open_source(folder)
        assert len(repeated) == 7 and repeated.view_names == ("back",)
        places = {record.name: index for index, record in enumerate(repeated.records)}
        for number in range(7):
            pixels = repeated.read_view(places[f"{number:06d}"], "back").pixels
            assert np.array_equal(pixels, source.read_view(number % 3, "back").pixels)
            assert repeated.records[places[f"{number:06d}"]].class_name == source.records[number % 3].class_name
    assert not folder.exists()
    with pytest.raises(InputError, match="no object has a view 'top'"), repeated_inputs(source, "top", 1):
        pass
