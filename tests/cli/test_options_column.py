"""Commands on parquet files whose columns have names of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.objects import CHAIR_SOFA, VIEWS, image_bytes, write_parquet

ASKED = ("--column", "view=pose", "--column", "object=who", "--column", "class=kind_of")


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    rows = [
        {"image": image_bytes(20 * i + v, 16), "pose": view, "kind_of": i % 2, "who": f"o{i}"}
        for i in range(4)
        for v, view in enumerate(VIEWS)
    ]
    write_parquet(tmp_path / "data" / "test.parquet", rows, features={"kind_of": CHAIR_SOFA["label"]})
    return tmp_path / "data"


def test_inspect_counts_objects(dimvida, parquet: Path):
    result = dimvida("data", "inspect", parquet, *ASKED, "--rows", 0, "--print-json")
    found = json.loads(result.out)
    assert result.code == 0 and (found["form"], found["objects"], found["splits"]) == ("parquet", 4, ["test"])


def test_a_partition_names_objects_in_rows(dimvida, parquet: Path, tmp_path: Path):
    assert dimvida("data", "partition", parquet, *ASKED, "--out", tmp_path / "p.json").code == 0
    assert "test/sofa/o3" in (tmp_path / "p.json").read_text()


def test_generate_continues_and_notices_a_changed_file(dimvida, tiny_checkpoint: Path, parquet: Path, tmp_path: Path):
    def generate(*options: object):
        return dimvida(
            "generate", "--data", parquet, "--out", tmp_path / "out", "--checkpoint", tiny_checkpoint, "--steps", 1,
            "--view", "front", *options,
        )  # fmt: skip

    result = generate(*ASKED)
    assert result.code == 0 and "done: 12 views of 4 objects" in result.out, result.err
    assert "finished before: 12 views of 4 objects" in generate(*ASKED).out
    rows = [
        {"image": image_bytes(200 + i, 16), "pose": view, "kind_of": i % 2, "who": f"o{i}"}
        for i in range(4)
        for view in VIEWS
    ]
    write_parquet(parquet / "test.parquet", rows, features={"kind_of": CHAIR_SOFA["label"]})
    assert "has changed since shard-000000" in generate(*ASKED).refusal()


def test_evaluate_takes_columns(dimvida, tiny_checkpoint: Path, parquet: Path):
    result = dimvida(
        "evaluate", "--data", parquet, *ASKED, "--checkpoint", tiny_checkpoint, "--steps", 1, "--known", "3",
        "--subsets", 1, "--metrics", "psnr",
    )  # fmt: skip
    assert result.code == 0 and "4 objects of data (test)" in result.out, result.err


@pytest.mark.parametrize(
    "command", [("data", "inspect"), ("evaluate", "--data"), ("train", "--out", "x", "--stage", "all", "--data")]
)
def test_a_column_that_is_not_there_is_one_line(dimvida, parquet: Path, command):
    line = dimvida(*command, parquet, "--column", "view=nothing").refusal()
    assert line.startswith("error: --column view=nothing: there is no such column; there are pose, kind_of, who")
