"""What a training shows of its time: of the piece at hand, and of all that comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import Result

from dimvida.cli.progress import ProgressBar, duration

from .conftest import train


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (59.6, "60 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (6000, "1 h 40 min"),
        (12000, "3 h 20 min"), (47 * 3600, "47 h 0 min"), (52 * 3600, "2 d 4 h"),
    ],
)  # fmt: skip
def test_times_are_in_units_that_people_use(seconds: float, shown: str):
    assert duration(seconds) == shown


def test_the_time_left_in_all_counts_what_comes_later(capsys: pytest.CaptureFixture[str], monkeypatch):
    clock = iter([0.0, 100.0, 100.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr("dimvida.cli.progress.time.monotonic", lambda: next(clock, 100.0))
    with ProgressBar("autoencoder", 100, "steps", later=900) as bar:
        bar.update(10, "loss 0.5")
    (line,) = set(capsys.readouterr().err.splitlines())
    assert line == "autoencoder: 10/100 steps, 0.1 steps/s, 15 min left, about 2 h 45 min in all, loss 0.5"


def test_a_training_of_both_stages_says_it_while_the_first_one_runs(
    finished: tuple[Path, Result], boxes: Path, tmp_path: Path
):
    (first,) = [line for line in finished[1].err.splitlines() if line.startswith("autoencoder: 30/30")]
    assert " in all, loss " in first
    assert not [line for line in finished[1].err.splitlines() if line.startswith("diffusion:") and "in all" in line]
    alone = train(boxes, tmp_path / "run", "--stage", "autoencoder").err
    assert "autoencoder: 30/30" in alone and "in all" not in alone
