"""``dimvida generate`` into a bucket: whole shards or none, killed and continued, byte for byte what a folder has."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Result
from helpers.objects import tree
from helpers.servers import s3_server

from .conftest import at_shard

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
OBJECTS, SHARDS = 8, 4
FORMATS = ("webdataset", "npy", "parquet")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """A file system that remembers nothing, and a bucket of it."""
    import s3fs

    with s3_server(monkeypatch):
        system = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        system.mkdir("bucket")
        yield system, "bucket"


@pytest.fixture
def command(generation, write_fronts, tmp_path: Path) -> Callable[..., list[str]]:
    """A command line of four shards, of inputs of which one cannot be read."""
    images = write_fronts(tmp_path / "images", OBJECTS, unreadable=[5])

    def make(output: object, form: str) -> list[str]:
        return generation(
            images, output, "--skip-bad", "--shard-size", OBJECTS // SHARDS, "--format", form, "--steps", 1
        )

    return make


@pytest.fixture
def done(dimvida) -> Callable[..., Result]:
    """Runs a command line that must work, in this process: those that are killed have one of their own."""

    def call(arguments: list[str]) -> Result:
        result = dimvida(*arguments)
        assert result.code == 0, result.err
        return result

    return call


def content(system, place: str) -> dict[str, bytes]:
    system.invalidate_cache()
    return {name.removeprefix(f"{place}/"): system.cat_file(name) for name in system.find(place)}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_killed_and_repeated_a_bucket_has_what_a_folder_has(command, done, dimvida, bucket, tmp_path: Path, form: str):
    done(command(tmp_path / "whole", form))
    expected, (system, name) = tree(tmp_path / "whole"), bucket
    place, url = f"{name}/views", f"s3://{name}/views"
    for more, shards in ((1, 1), (2, 3)):
        run = at_shard(more, signal.SIGKILL, command(url, form))
        assert subprocess.run(run, capture_output=True).returncode == -signal.SIGKILL
        found = content(system, place)
        assert sum(path.endswith(".json") and path.startswith("shard-") for path in found) == shards
        assert "report.json" not in found
        assert found.pop(".generation.lease-00000.json") and found.items() <= expected.items()
    for key in ("views/shard-000003.tar", "other/shard-000003.tar"):  # begun by somebody who was killed
        system.call_s3("create_multipart_upload", Bucket=name, Key=key)
    times = {path: system.info(f"{place}/{path}")["LastModified"] for path in found}
    done(command(url, form))
    assert content(system, place) == expected
    system.invalidate_cache()
    assert {path: system.info(f"{place}/{path}")["LastModified"] for path in times} == times
    assert [upload["Key"] for upload in system.list_multipart_uploads(name)] == ["other/shard-000003.tar"]

    damaged = next(path for path in sorted(expected) if path.startswith("shard-000002") and not path.endswith("json"))
    system.pipe_file(f"{place}/{damaged}", expected[damaged][:-1] + b"!")
    system.rm_file(f"{place}/README.md")
    told = dimvida("generate", "--verify", url)
    assert told.code == 1 and f"{damaged}: its content has changed" in told.out
    assert f"{damaged}: its content has changed; its shard is made again" in done(command(url, form)).out
    assert content(system, place) == expected
    verified = done(["generate", "--verify", url])
    assert f"{url}: finished, {SHARDS} of {SHARDS} shards, all whole" in verified.out
