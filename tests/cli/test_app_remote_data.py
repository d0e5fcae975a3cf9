"""Commands on data in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.objects import CHAIR_SOFA, VIEWS, image_bytes, tree, view_rows, write_parquet
from helpers.servers import s3_server


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DIMVIDA_CACHE", str(tmp_path / "cache"))
    write_parquet(tmp_path / "data" / "test.parquet", view_rows(4, VIEWS), features=CHAIR_SOFA)
    for name in ("chair/a", "sofa/b"):
        for place, view in enumerate(VIEWS):
            path = tmp_path / "images" / name / f"{view}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_bytes(place))
    with s3_server(monkeypatch) as fs:
        fs.mkdir("bucket")
        for name in ("data", "images"):
            fs.put(f"{tmp_path / name}/", f"bucket/{name}", recursive=True)
        yield fs


@pytest.mark.parametrize("form", ["data", "images"])
def test_generate_writes_the_same_bytes_as_from_files(dimvida, tiny_checkpoint, bucket, tmp_path: Path, form: str):
    def generate(data: object, out: str, *options: object):
        return dimvida(
            "generate", "--data", data, "--out", tmp_path / out, "--checkpoint", tiny_checkpoint, "--steps", 1,
            "--view", "front", *options,
        )  # fmt: skip

    assert generate(tmp_path / form, "local").code == 0
    url = f"s3://bucket/{form}"
    result = generate(url, "remote", "--workers", 2)
    assert result.code == 0, result.err
    assert tree(tmp_path / "remote") == tree(tmp_path / "local")
    assert "finished before" in generate(url, "remote").out
    if form == "images":
        bucket.pipe_file("bucket/images/sofa/b/front.png", image_bytes(77))
    else:
        write_parquet(tmp_path / "data" / "test.parquet", view_rows(4, VIEWS[::-1]), features=CHAIR_SOFA)
        bucket.put(str(tmp_path / "data" / "test.parquet"), "bucket/data/test.parquet")
    refusal = generate(url, "remote").refusal()
    assert f"{url}/" in refusal and "has changed since shard-000000" in refusal


def test_evaluate_and_inspect_read_a_bucket(dimvida, tiny_checkpoint, bucket, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = dimvida("data", "inspect", "s3://bucket/images")
    assert result.code == 0 and (tmp_path / "images-sheet.png").is_file(), result.err
    assert result.out.startswith("s3://bucket/images\n")
    result = dimvida(
        "evaluate", "--data", "s3://bucket/data", "--checkpoint", tiny_checkpoint, "--steps", 1, "--known", "3",
        "--subsets", 1, "--metrics", "psnr", "--out", tmp_path / "evaluation",
    )  # fmt: skip
    assert result.code == 0 and "4 objects of data (test)" in result.out, result.err
    assert "s3://bucket/none: no such folder" in dimvida("data", "inspect", "s3://bucket/none").refusal()
