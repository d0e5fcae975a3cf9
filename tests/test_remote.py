"""URLs of files elsewhere: which texts are, their file systems, and one line for whatever goes wrong."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from dimvida.data.remote_tree import RemoteTree
from dimvida.errors import DimvidaError, InputError
from dimvida.remote import NoCopy, NoRoom, fetched, filesystem, is_url, one_line, shown, url_of


@pytest.mark.parametrize(
    "text", ["s3://bucket/a", "memory://", "https://host/a.tar", "hf://datasets/a/b", "a+b.c-1://x", "S3://b"]
)
def test_urls_are_known_by_their_beginning(text):
    assert is_url(text)


@pytest.mark.parametrize("text", ["data/a.zip", "C://x", "a:/b", "1s3://b", "./s3://b", Path("s3://b"), ""])
def test_paths_are_no_urls(text):
    assert not is_url(text)


@pytest.mark.parametrize("url", ["s3://b/a", "https://host/a.zip", "file:///tmp/a", "memory://a"])
def test_a_path_that_was_made_of_a_url_is_known_again(url):
    assert url_of(Path(url)) == url_of(url) == url
    assert url_of("a/b") is None and url_of(Path("a/b")) is None


@pytest.mark.parametrize("place", ["HTTPS://Host/A?B=C", Path("HTTPS://Host/A?B=C")], ids=["text", "path"])
def test_a_url_in_capitals_is_the_same(place):
    assert url_of(place) == "https://Host/A?B=C"


def test_a_folder_that_is_there_is_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    Path("s3:/b").mkdir()
    assert url_of(Path("s3:/b")) is None


def test_a_filesystem_reads_what_its_path_names():
    fs, path = filesystem("memory://test_remote/a.txt")
    fs.pipe_file(path, b"content")
    again, same = filesystem("memory://test_remote/a.txt")
    assert again is fs and again.cat_file(same) == b"content"
    fs.rm(path)


def test_an_unknown_protocol_is_one_line():
    with pytest.raises(InputError, match=r"nowhere://a: .*known are s3://") as caught:
        filesystem("nowhere://a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "line"),
    [
        ("s3://b/a", "fsspec.core", r"s3://b/a: needs fsspec; pip install 'dimvida\[remote\]'"),
        ("s3://b/a", "s3fs", r"s3://b/a: needs s3fs; pip install 'dimvida\[remote\]'"),
        ("hf://datasets/a/b", "huggingface_hub", r"needs huggingface_hub; pip install 'dimvida\[hub\]'"),
        ("gs://b/a", "gcsfs", r"gs://b/a: needs gcsfs; pip install 'dimvida\[gs\]'"),
        ("gcs://b/a", "gcsfs", r"gcs://b/a: needs gcsfs; pip install 'dimvida\[gs\]'"),
    ],
)
def test_a_missing_package_is_one_line_that_names_what_to_install(monkeypatch, url, module, line):
    registry = import_module("fsspec.registry")._registry  # the module's name in the package is that of something in it
    for name in ("s3", "hf", "gs", "gcs"):  # that were found before
        monkeypatch.delitem(registry, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=line):
        filesystem(url)


@pytest.mark.parametrize("url", ["hf://datasets", "hf://datasets/owner", "hf://owner"])
def test_a_place_on_the_hub_that_is_no_repository_is_told(url):
    with pytest.raises(InputError, match=f"{url}: names no repository; one of data is hf://datasets/owner/name"):
        filesystem(url)


def test_what_libraries_log_is_not_printed_beside_the_error(capfd):
    system, _ = filesystem("memory://a")
    logger = logging.getLogger(type(system).__module__.partition(".")[0])
    logger.parent, parent = None, logger.parent  # the handlers of the tests' own are above it
    try:
        logger.warning("a trace of many lines")
    finally:
        logger.parent = parent
    assert capfd.readouterr().err == ""


class Refused(Exception):
    status = 403


class ParamValidationError(Exception):
    """As botocore has it."""


class OfflineModeIsEnabled(ConnectionError):
    """As huggingface_hub has it."""


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (FileNotFoundError(2, "No such file", "a"), InputError, "no such file or folder"),
        (PermissionError("Forbidden"), InputError, r"access denied \(Forbidden\)"),
        (Refused("no"), InputError, r"access denied \(no\)"),
        (ParamValidationError("Invalid bucket name"), InputError, r"cannot be asked for \(Invalid bucket name\)$"),
        (OfflineModeIsEnabled("HF_HUB_OFFLINE"), InputError, r"cannot be asked for \(HF_HUB_OFFLINE\)$"),
        (TimeoutError(), DimvidaError, r"cannot be reached \(TimeoutError\); try again"),
        (RuntimeError("two\nlines"), DimvidaError, r"cannot be reached \(two lines\)"),
    ],
)
def test_whatever_a_filesystem_raises_is_one_line(error, kind, line):
    with pytest.raises(DimvidaError, match=f"^s3://b/a: {line}") as caught, one_line("s3://b/a"):
        raise error
    assert type(caught.value) is kind


def test_errors_of_this_package_stay_what_they_are():
    mine = InputError("mine")
    with pytest.raises(InputError) as caught, one_line("s3://b/a"):
        raise mine
    assert caught.value is mine


def test_passwords_and_signatures_are_not_shown():
    assert shown("https://me:secret@host/a.tar?X-Signature=abc") == "https://host/a.tar"
    assert shown("https://host/a?b@c/d") == "https://host/a" and shown("s3://key:secret@b/a") == "s3://b/a"
    assert shown("s3://bucket/what?.png") == "s3://bucket/what?.png"  # where it belongs to the name
    with pytest.raises(InputError) as caught, one_line("https://host/a?Signature=abc"):
        raise PermissionError("Forbidden: https://host/a?Signature=abc")
    assert "abc" not in str(caught.value)


@pytest.fixture
def remote_file(tmp_path: Path, monkeypatch) -> Iterator[str]:
    """A file in another memory, of which copies are below ``tmp_path``."""
    monkeypatch.setenv("DIMVIDA_CACHE", str(tmp_path / "cache"))
    fs, path = filesystem("memory://test_remote/a.zip")
    fs.pipe_file(path, b"content")
    yield "memory://test_remote/a.zip"
    fs.rm(path)


def test_a_file_for_which_there_is_no_room_is_not_fetched(remote_file: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=6))
    with pytest.raises(NoRoom, match=rf"a\.zip: no copy can be made in {tmp_path}/.* .it has 7 bytes, and 6 are free."):
        fetched(remote_file)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_is_called_so_and_not_tried_again(remote_file: str, monkeypatch, number: int):
    tried = []

    def fail(system, path, copy):
        tried.append(path)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(type(filesystem(remote_file)[0]), "get_file", fail)
    with pytest.raises(NoRoom, match=f"{os.strerror(number)}.; choose another folder with DIMVIDA_CACHE") as caught:
        fetched(remote_file)
    assert len(tried) == 1 and not isinstance(caught.value, InputError)


def test_a_place_that_takes_no_copies_is_not_the_fault_of_the_file(remote_file: str, tmp_path: Path):
    (tmp_path / "cache").touch()
    with pytest.raises(NoCopy, match=r"a\.zip: no copy can be made"):
        RemoteTree("memory://test_remote").local("a.zip")
