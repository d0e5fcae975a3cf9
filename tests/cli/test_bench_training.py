"""``dimvida bench training``."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.trainings import FAST, options


def test_prints_a_table_and_writes_it(dimvida, tmp_path: Path):
    path = tmp_path / "training.json"
    result = dimvida("bench", "training", "--preset", "tiny", "--repeats", 1, "--json", path, *options(FAST))
    assert result.code == 0, result
    table = [line.split() for line in result.out.splitlines() if line.strip().startswith("tiny")]
    assert [row[:3] for row in table] == [["tiny", "autoencoder", "64"], ["tiny", "diffusion", "64"]]
    assert max(map(len, result.out.splitlines())) <= 80
    written = json.loads(path.read_text())
    assert [row["stage"] for row in written["results"]] == ["autoencoder", "diffusion"]
    assert written["settings"]["overrides"] == list(FAST) and written["hardware"]["cpu"]
    for row, shown in zip(written["results"], table, strict=True):
        assert row["overhead"] > -1 and shown[-2] == f"{100 * row['overhead']:.1f}"


def test_bad_options_get_one_line(dimvida, tmp_path: Path):
    for arguments, named in (
        (["--stage", "both"], "--stage both"),
        (["--preset", "huge"], "'huge'"),
        (["--set", "score.widht=3"], "'widht'"),
        (["--json", tmp_path / "missing" / "x.json"], "--json"),
    ):
        assert named in dimvida("bench", "training", *arguments).refusal()
