"""Outputs behind URLs: what a place there does as a path does, and the same output as in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.objects import tree

from dimvida.errors import InputError
from dimvida.generation import lease, storage
from dimvida.generation.run import Generation
from dimvida.generation.storage import RemotePath, local_file, output_place, require_writable_place, write_whole
from dimvida.generation.verify import find_damage, open_output

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def place() -> Iterator[RemotePath]:
    yield output_place("memory://outputs/one")
    fsspec.filesystem("memory").store.clear()


def content(place: RemotePath) -> dict[str, bytes]:
    return {name: (place / name).read_bytes() for name in place.names()}


def test_what_is_a_url_and_what_a_folder(tmp_path: Path):
    assert output_place(str(tmp_path)) == tmp_path and output_place(f"file://{tmp_path}") == tmp_path
    assert str(output_place("s3://bucket/a/") / "b") == str(output_place("S3://bucket/a") / "b") == "s3://bucket/a/b"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.org/x", "--out https://example.org/x: files appear there before they are whole; take s3://"),
        ("hf://datasets/a/b", "--out hf://datasets/a/b: files appear there"),
        ("s3://", "--out s3://: name a bucket, as s3://bucket/folder"),
    ],
)
def test_urls_that_are_refused(url: str, message: str):
    with pytest.raises(InputError, match=message):
        output_place(url)


def test_a_place_does_what_a_path_does(place: RemotePath):
    file = place / "a.json"
    assert place.names() == set() and not file.exists()
    for ask in (file.stat, file.read_bytes, lambda: file.open("rb")):
        with pytest.raises(FileNotFoundError):
            ask()
    file.unlink(missing_ok=True)
    write_whole(file, "é")
    assert place.names() == {"a.json"} and file.exists() and file.stat().st_size == 2
    with file.open("rb") as opened:
        assert opened.read() == file.read_bytes() == "é".encode()
    with local_file(file) as local:
        assert local.read_bytes() == "é".encode()
    assert not local.exists()
    file.unlink()
    assert not file.exists()
    assert file.create(b"1") and not file.create(b"2") and file.read_bytes() == b"1"


def test_a_bucket_that_is_not_there_is_named_as_the_user_named_it(monkeypatch):
    def pipe_file(path: str, data: bytes) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(storage, "filesystem", lambda url: (SimpleNamespace(pipe_file=pipe_file), url))
    with pytest.raises(InputError) as refused:
        require_writable_place(output_place("s3://no-bucket/views/"))
    assert str(refused.value) == "--out s3://no-bucket/views: there is no such bucket, and none is made"


def test_uploads_that_were_begun_in_it_are_given_up_and_no_others(place: RemotePath, monkeypatch):
    place.abort_uploads()  # nothing where the store has none
    keys, left = ("one/shard-000001.tar", "one/below/shard-000001.tar"), []

    def call_s3(method: str, Bucket: str, Prefix: str) -> dict:
        assert (method, Bucket, Prefix) == ("list_multipart_uploads", "bucket", "one/")
        return {"Uploads": [{"Key": key, "UploadId": str(number)} for number, key in enumerate(keys)]}

    system = SimpleNamespace(
        split_path=lambda path: ("bucket", path.partition("/")[2], None),
        call_s3=call_s3,
        abort_mpu=lambda *upload: left.append(upload),
    )
    monkeypatch.setattr(storage, "filesystem", lambda url: (system, url.partition("://")[2]))
    output_place("s3://bucket/one").abort_uploads()
    assert left == [("bucket", keys[0], "0")]

    def denied(method: str, **options: str) -> None:
        raise PermissionError("may not list")

    system.call_s3 = denied
    output_place("s3://bucket/one").abort_uploads()


def test_what_is_there_is_not_replaced_where_only_the_store_knows_of_it(place: RemotePath, monkeypatch):
    file = place / "a"
    file.write_bytes(b"1")
    monkeypatch.setattr(RemotePath, "exists", lambda path: False)  # as it was when it was asked
    assert not file.create(b"2") and file.read_bytes() == b"1"
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", lambda system, path, data: None)
    assert file.create(b"2")  # of an old store


def test_two_runs_at_once_are_kept_apart(start: Callable[..., Generation], place: RemotePath, monkeypatch):
    options = {"format": "npy", "steps": 1, "shard_size": 12, "batch": 4}
    with start(place, **options) as generation:
        name = next(name for name in place.names() if "lease" in name)
        own = json.loads((place / name).read_bytes())
        monkeypatch.setattr(
            lease.time, "sleep", lambda seconds: (place / name).write_bytes(json.dumps({**own, "number": 1}).encode())
        )
        with pytest.raises(InputError, match="memory://outputs/one: another run is writing to it"):
            start(place, **options).__enter__()
        generation.run()
    assert find_damage(open_output(place)) == [] and not any("lease" in name for name in place.names())


@pytest.mark.parametrize("form", ["webdataset", "npy", "parquet"])
def test_the_same_output_as_in_a_folder(start: Callable[..., Generation], tmp_path: Path, place: RemotePath, form: str):
    options = {"format": form, "steps": 1, "shard_size": 12, "batch": 4}
    with start(tmp_path / "out", **options) as generation:
        generation.run()
    expected = tree(tmp_path / "out")
    with start(place, **options) as generation:
        generation.run()
    assert content(place) == expected and find_damage(open_output(place)) == []

    damaged = next(name for name in sorted(expected) if name.startswith("shard-000001") and not name.endswith("json"))
    (place / damaged).write_bytes(b"!" + expected[damaged][1:])
    (place / "shard-000000.json").unlink()
    assert f"{damaged}: its content has changed" in find_damage(open_output(place))
    with start(place, **options) as generation:
        assert generation.damaged == [f"{damaged}: its content has changed"] and len(generation.pending) == 2
        generation.run()
    assert content(place) == expected


def test_an_image_folder_and_another_output_are_refused(start: Callable[..., Generation], place: RemotePath):
    with pytest.raises(InputError, match=r"memory://outputs/one: not for a file of each picture; give --format npy"):
        start(place)
    write_whole(place / "mine.txt", "mine")
    with pytest.raises(InputError, match="not empty, and not an output of dimvida generate"):
        start(place, format="npy")
    assert content(place) == {"mine.txt": b"mine"}
