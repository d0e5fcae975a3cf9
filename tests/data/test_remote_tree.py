"""Every form behind URLs: buckets (moto), servers with and without ranges, and memory."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from helpers.commands import PATIENCE
from helpers.objects import CHAIR_SOFA, image_bytes, view_rows, write_parquet
from helpers.servers import http_server, hub_server, s3_server, send_hashes

from dimvida import remote
from dimvida.data import remote_tree
from dimvida.data.opening import open_source
from dimvida.data.remote_tree import RemoteTree
from dimvida.data.source import MultiViewSource
from dimvida.errors import DimvidaError, InputError, UnreadableImage

from .conftest import gs_server, write_tar

FORMS = (
    *("images", "images.zip", "parquet", "parquet/train-{00000..00001}-of-00002.parquet", "tars", "tars/a.tar"),
    *("own", "npy", "saved", "nmr"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIMVIDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSES", (0.0,))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same objects in every form."""
    import json

    import datasets
    import pyarrow as pa

    root = tmp_path_factory.mktemp("here")
    for number, name in enumerate(("chair/a b#%41?ü[*]", "chair/b", "sofa/c")):
        for place, view in enumerate(("front", "left")):
            path = root / "images" / name / f"{view}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_bytes(10 * number + place))
    (root / "images" / "cameras.json").write_text(
        json.dumps({view: {"azimuth": azimuth, "elevation": 0} for view, azimuth in (("front", 0), ("left", 90))})
    )
    shutil.make_archive(str(root / "images"), "zip", root / "images")
    for number in range(2):
        rows = view_rows(4)[8 * number : 8 * number + 8]
        write_parquet(root / "parquet" / f"train-0000{number}-of-00002.parquet", rows, features=CHAIR_SOFA)
    write_tar(
        root / "tars" / "a.tar", {f"k{i}.{view}.png": image_bytes(i) for i in range(3) for view in ("front", "left")}
    )
    write_tar(root / "own" / "shard-000000.tar", {f"chair/k.{view}.png": image_bytes(5) for view in ("front", "left")})
    shutil.copytree(root / "images", root / "another")
    (root / "another" / "sofa" / "c" / "left.png").write_bytes(image_bytes(98))
    shutil.make_archive(str(root / "another"), "zip", root / "another")
    np.save(root / "another.npy", np.full((2, 8, 8, 3), 9, np.uint8))
    (root / "npy").mkdir()
    np.save(root / "npy" / "shard-000000.npy", np.full((2, 8, 8, 3), 7, np.uint8))
    lines = [json.dumps({"key": "chair/k", "view": view}) for view in ("front", "left")]
    (root / "npy" / "shard-000000.jsonl").write_text("\n".join(lines) + "\n")
    rows = [{"image": image_bytes(i), "view": "front", "object": f"o{i}"} for i in range(3)]
    saved = datasets.Dataset.from_list(rows)
    assert saved.features.arrow_schema.field("image").type == pa.binary()
    saved.save_to_disk(root / "saved")
    (root / "nmr").mkdir()
    array = np.full((1, 24, 4, 4, 4), 255, np.uint8)
    np.savez_compressed(root / "nmr" / "03001627_test_images.npz", array)
    return root


def content(source: MultiViewSource) -> dict:
    return {
        record.id: {view: source.read_view(index, view).sha256 for view in record.views}
        for index, record in enumerate(source.records)
    }


@pytest.fixture
def bucket(here: Path, monkeypatch: pytest.MonkeyPatch):
    with s3_server(monkeypatch) as fs:
        fs.mkdir("bucket")
        fs.put(f"{here}/", "bucket/data", recursive=True)
        yield fs


def check_all(here: Path, url: str) -> None:
    for form in FORMS:
        local, other = open_source(here / form), open_source(f"{url}/{form}")
        assert content(other) == content(local) and other.form == local.form, form
        assert other.path == f"{url}/{form}" and other.cameras == local.cameras, form
        assert (len(other.notes), other.left_out) == (len(local.notes), local.left_out), form
        index, view = len(other) - 1, other.records[-1].views[-1]
        place = other.location(index, view)
        assert place.startswith(url) and other.view_sha256(index, view) == local.view_sha256(index, view), form
        assert content(pickle.loads(pickle.dumps(other))) == content(local), form


def test_every_form_in_a_bucket(here: Path, bucket):
    check_all(here, "s3://bucket/data")
    for view in ("front", "left"):
        bucket.pipe_file(f"bucket/more/chair/a::b/{view}.png", image_bytes(1))  # which fsspec takes for two URLs
    source = open_source("s3://bucket/more")
    assert source.location(0, "left") == "s3://bucket/more/chair/a::b/left.png"
    assert list(content(source)) == ["chair/a::b"]


@pytest.mark.parametrize("ranges", [True, False])
def test_every_form_on_a_server(here: Path, ranges: bool):
    with http_server(here, ranges=ranges) as (url, _):
        check_all(here, url)
        assert content(open_source(f"{url}/tars/%61.tar")) == content(open_source(here / "tars/a.tar"))


def test_every_form_on_the_hub(here: Path, monkeypatch):
    with hub_server(monkeypatch, here) as handler:
        check_all(here, "hf://datasets/owner/name")
        for revision in ("@~parquet", "@refs/convert/parquet"):
            source = open_source(f"hf://datasets/owner/name{revision}/images")
            assert content(source) == content(open_source(here / "images"))
        parts = [path for path in handler.asked if path.endswith("tars/a.tar")]
        assert parts and not any("/api/models" in path for path in handler.asked)
        with pytest.raises(InputError, match="hf://datasets/owner/another/images: "):
            open_source("hf://datasets/owner/another/images")
        with pytest.raises(InputError, match="hf://datasets/owner/name@v9/images: no such file or folder"):
            open_source("hf://datasets/owner/name@v9/images")
        with pytest.raises(InputError, match="hf://datasets/owner/name/none: no such folder"):
            open_source("hf://datasets/owner/name/none")


def test_every_form_in_googles_storage(here: Path, monkeypatch):
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")
    with gs_server(monkeypatch) as fs:
        fs.mkdir("bucket")
        fs.put(f"{here}/", "bucket/data", recursive=True)
        check_all(here, "gs://bucket/data")


@pytest.fixture
def memory(here: Path) -> Iterator[str]:
    fs = fsspec.filesystem("memory")
    fs.put(f"{here}/", "/remote", recursive=True)
    yield "memory://remote"
    fs.rm("/remote", recursive=True)


def test_every_form_in_memory(here: Path, memory: str):
    check_all(here, memory)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("form", "method"), [("images", "fork"), ("parquet", "fork"), ("tars", "spawn")])
def test_other_processes_make_connections_of_their_own(here: Path, bucket, method: str, form: str):
    source = open_source(f"s3://bucket/data/{form}")
    hashes = [source.read_view(0, view).sha256 for view in source.records[0].views]  # connections are open now
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=send_hashes, args=(source, theirs))
    process.start()
    theirs.close()  # so that an end of the process ends the wait
    try:
        assert ours.recv() == hashes
        process.join(PATIENCE)
        assert process.exitcode == 0
    finally:
        process.kill()


class TestChange:
    def test_a_changed_file_is_read_anew(self, here: Path, bucket):
        before = {form: content(open_source(f"s3://bucket/data/{form}")) for form in ("images", "images.zip", "npy")}
        bucket.pipe_file("bucket/data/images/sofa/c/left.png", image_bytes(99))
        bucket.put(str(here / "another.zip"), "bucket/data/images.zip")
        bucket.put(str(here / "another.npy"), "bucket/data/npy/shard-000000.npy")
        for form, hashes in before.items():
            after = content(open_source(f"s3://bucket/data/{form}"))
            assert after.keys() == hashes.keys() and after != hashes, form

    def test_copies_are_made_once_and_anew_where_the_file_changed(self, tmp_path: Path, cache: Path):
        (tmp_path / "a.zip").write_bytes(b"one")
        with http_server(tmp_path, ranges=False) as (url, handler):
            copy = remote.fetched(f"{url}/a.zip")
            assert copy.read_bytes() == b"one" and remote.fetched(f"{url}/a.zip") == copy
            assert handler.requests == ["/a.zip"]
            (tmp_path / "a.zip").write_bytes(b"three")
            assert remote.fetched(f"{url}/a.zip").read_bytes() == b"three"
            assert not copy.exists() and [path.suffix for path in cache.rglob("*") if path.is_file()].count(".zip") == 1

    def test_a_file_that_vanished_is_unreadable(self, bucket):
        source = open_source("s3://bucket/data/images")
        bucket.rm("bucket/data/images/sofa/c/left.png")
        with pytest.raises(UnreadableImage, match=r"s3://bucket/data/images/sofa/c/left\.png: no such file or folder"):
            source.read_view(2, "left")


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("place", "line"),
        [
            ("none", "no such folder, or nothing in it"),
            ("none.zip", "no such file or folder"),
            ("none.tar", "no such file or folder"),
            ("none-{0..1}.parquet", "no such file or folder"),
        ],
    )
    def test_what_is_not_there_is_one_line(self, bucket, place: str, line: str):
        with pytest.raises(InputError, match=f"s3://bucket/data/none.*: {line}"):
            open_source(f"s3://bucket/data/{place}")

    @pytest.mark.parametrize(
        ("code", "kind", "line"), [(403, InputError, "access denied"), (500, DimvidaError, "cannot be reached")]
    )
    def test_refusals_are_one_line(self, here: Path, code: int, kind: type, line: str):
        with http_server(here, ranges=True) as (url, handler):
            source = open_source(f"{url}/images")
            handler.refuse, handler.requests[:] = code, []
            for place in ("images", "images.zip", "tars/a.tar"):
                with pytest.raises(kind, match=line) as caught:
                    open_source(f"{url}/{place}")
                assert "\n" not in str(caught.value) and isinstance(caught.value, InputError) == (code == 403)
            with pytest.raises(UnreadableImage if code == 403 else DimvidaError, match=line):
                source.read_view(0, "front")

    @pytest.mark.parametrize("place", ["a.tar", "folder"])
    def test_nobody_listening_is_no_input_error(self, place: str):
        with pytest.raises(DimvidaError, match=r"cannot be reached .*; try again") as caught:
            open_source(f"http://127.0.0.1:9/{place}")
        assert not isinstance(caught.value, InputError)

    def test_a_folder_whose_listing_breaks_off_is_not_empty(self, here: Path):
        with http_server(here, ranges=True) as (url, handler):
            handler.reset = "/images/chair/b"
            with pytest.raises(DimvidaError, match=r"images: cannot be reached .*; try again") as caught:
                open_source(f"{url}/images")
            assert not isinstance(caught.value, InputError)
            handler.reset = ""
            assert len(open_source(f"{url}/images")) == len(open_source(here / "images"))

    def test_names_that_leave_the_folder_are_refused(self):
        fs = fsspec.filesystem("memory")
        fs.pipe_file("/bad/a\\b.png", b"x")
        try:
            with pytest.raises(InputError, match=r"backslash.*such folders are refused"):
                open_source("memory://bad")
        finally:
            fs.rm("/bad", recursive=True)

    def test_files_above_the_limit_are_not_fetched(self, here: Path):
        with http_server(here, ranges=True) as (url, handler):
            tree = RemoteTree(f"{url}/images")
            handler.requests.clear()
            with pytest.raises(UnreadableImage, match="more than the limit of 10 bytes"):
                tree.read("chair/b/front.png", 10)
            assert handler.requests == []

    def test_a_copy_that_cannot_be_made_is_one_line(self, here: Path, monkeypatch, tmp_path: Path):
        (tmp_path / "file").touch()
        monkeypatch.setenv("DIMVIDA_CACHE", str(tmp_path / "file"))
        with (
            http_server(here, ranges=True) as (url, _),
            pytest.raises(InputError, match="choose another folder with DIMVIDA_CACHE"),
        ):
            open_source(f"{url}/images.zip")


def test_large_files_are_read_in_blocks(here: Path, monkeypatch):
    monkeypatch.setattr(remote_tree, "BLOCK", 100)
    data = (here / "tars" / "a.tar").read_bytes()
    with http_server(here, ranges=True) as (url, _):
        tree = RemoteTree(f"{url}/tars")
        for offset, size in ((0, 10), (95, 10), (100, 100), (250, 1000), (len(data) - 5, 100), (len(data), 5)):
            assert tree.part("a.tar", offset, size) == data[offset : offset + size]
        with tree.open("a.tar") as file:
            file.seek(-7, 2)
            assert file.read() == data[-7:] and file.tell() == len(data)


def test_queries_are_kept_and_not_shown(here: Path):
    with http_server(here, ranges=True) as (url, handler):
        source = open_source(f"{url}/tars/a.tar?X-Signature=secret")
        content(source)
        assert handler.requests and all(request.endswith("?X-Signature=secret") for request in handler.requests)
        assert "secret" not in f"{source.path} {source.location(0, 'front')}"


def test_a_path_of_a_url_is_known(here: Path, memory: str):
    assert open_source(Path(f"{memory}/images")).path == f"{memory}/images"
    assert open_source(f"file://{here / 'images'}").form == "folder"
