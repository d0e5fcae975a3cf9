"""Durable writes: what is at a path before, during and after, and what is said where it cannot be written."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dimvida.errors import DimvidaError, InputError
from dimvida.files import (
    atomic_file,
    atomic_path,
    atomic_write,
    exclusive_folder,
    make_folder,
    require_writable_file,
    require_writable_folder,
)

NOWHERE = Path("/proc/here")  # not even root may make it


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing more than ``size`` bytes into a file fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


class TestWriting:
    def test_the_content_appears_at_the_end(self, tmp_path: Path):
        path = tmp_path / "a.json"
        path.write_text("before")
        with atomic_file(path) as file:
            file.write(b"after")
            file.flush()
            assert path.read_text() == "before"
        assert path.read_text() == "after"
        assert os.listdir(tmp_path) == ["a.json"]

    @pytest.mark.parametrize("writer", [atomic_path, atomic_file])
    def test_an_exception_leaves_what_was_there(self, tmp_path: Path, writer):
        path = tmp_path / "a.json"
        path.write_text("before")
        with pytest.raises(KeyError), writer(path):
            raise KeyError
        assert (path.read_text(), os.listdir(tmp_path)) == ("before", ["a.json"])

    def test_the_temporary_name_keeps_the_suffix_and_fits(self, tmp_path: Path):
        for name in ("a.png", "ü" * 120 + ".json", "x" * 255):
            with atomic_path(tmp_path / name) as temporary:
                assert temporary.name.endswith(Path(name).suffix) and temporary.parent == tmp_path
            assert (tmp_path / name).exists()

    @pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
    def test_permissions_are_those_of_the_umask(self, tmp_path: Path, umask: int, mode: int):
        before = os.umask(umask)
        try:
            atomic_write(tmp_path / "a", "text")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode

    def test_a_link_is_replaced_and_what_it_leads_to_stays(self, tmp_path: Path):
        (tmp_path / "precious").write_text("mine")
        (tmp_path / "link").symlink_to("precious")
        atomic_write(tmp_path / "link", "new")
        assert (tmp_path / "precious").read_text() == "mine"
        assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_text() == "new"


class TestErrors:
    def test_a_full_disk_names_the_file(self, tmp_path: Path):
        with largest_file(10), pytest.raises(OSError, match=r"File too large: '.*/a\.json'"):
            atomic_write(tmp_path / "a.json", "x" * 1000)
        assert os.listdir(tmp_path) == []

    def test_a_full_disk_is_not_hidden_by_the_library_that_writes(self, tmp_path: Path):
        state = {"weight": torch.zeros(100_000)}
        with (
            largest_file(100_000),
            pytest.raises(OSError, match=r"File too large: '.*/a\.state'"),
            atomic_file(tmp_path / "a.state") as file,
        ):
            torch.save(state, file)
        assert os.listdir(tmp_path) == []
        with atomic_file(tmp_path / "a.state") as file:
            torch.save(state, file)
        assert torch.load(tmp_path / "a.state", weights_only=True)["weight"].shape == (100_000,)

    def test_no_folder_names_the_file_and_not_a_temporary_one(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError) as caught:
            atomic_write(tmp_path / "gone" / "a.json", "x")
        assert caught.value.filename == str(tmp_path / "gone" / "a.json")

    def test_an_error_about_another_file_stays(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a"):
            (tmp_path / "other").read_bytes()
        assert caught.value.filename == str(tmp_path / "other")

    def test_an_errors_own_kind_stays(self, tmp_path: Path):
        with pytest.raises(IsADirectoryError):
            atomic_write(tmp_path, "x")


class TestDevicesAndPipes:
    def test_a_pipe_stays_one_and_gets_the_content(self, tmp_path: Path):
        pipe, got = tmp_path / "pipe", []
        os.mkfifo(pipe)
        reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
        reader.start()
        require_writable_file("--json", pipe)
        atomic_write(pipe, "content")
        reader.join()
        assert got == ["content"] and stat.S_ISFIFO(pipe.stat().st_mode)

    def test_a_device_stays_one(self, tmp_path: Path):
        device = tmp_path / "null"
        try:
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            device.open("wb").close()
        except PermissionError:
            device = Path("/dev/null")  # which this user cannot replace either
        require_writable_file("--json", device)
        atomic_write(device, "content")
        assert stat.S_ISCHR(device.stat().st_mode)

    @pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "log"])
    def test_standard_output_in_a_file_goes_on_behind_it(self, tmp_path: Path, place: str):
        code = f"print(1); from dimvida.files import atomic_write; atomic_write({place!r}, '2\\n'); print(3)"
        with open(tmp_path / "log", "wb") as log:
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=log, check=True)
        assert (tmp_path / "log").read_text() == "1\n2\n3\n"
        assert Path("/dev/stdout").is_symlink()

    def test_an_open_files_number(self, tmp_path: Path):
        with open(tmp_path / "a", "wb") as file:
            atomic_write(f"/dev/fd/{file.fileno()}", "content")
        assert (tmp_path / "a").read_text() == "content"


class TestAskedBefore:
    def test_nothing_is_made(self, tmp_path: Path):
        require_writable_folder("--out", tmp_path / "a" / "b")
        require_writable_folder("--out", tmp_path)
        require_writable_file("--json", tmp_path / "a.json")
        assert os.listdir(tmp_path) == []

    def test_relative_places(self, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        require_writable_folder("--out", Path("a/b"))
        require_writable_file("--json", Path("a.json"))
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("folder", [NOWHERE, NOWHERE / "deeper", Path("/proc")])
    def test_a_place_that_takes_no_files(self, folder: Path):
        with pytest.raises(InputError, match=f"--out {folder}: no file can be written in /proc .*choose another --out"):
            require_writable_folder("--out", folder)

    def test_a_file_in_a_place_that_takes_none(self):
        with pytest.raises(InputError, match="--json /proc/here: no file can be written in /proc"):
            require_writable_file("--json", NOWHERE)

    def test_a_file_where_a_folder_should_be(self, tmp_path: Path):
        (tmp_path / "file").write_text("mine")
        for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
            with pytest.raises(InputError, match="is a file; choose another --out"):
                require_writable_folder("--out", folder)

    def test_a_link_that_leads_nowhere(self, tmp_path: Path):
        (tmp_path / "link").symlink_to("gone")
        for folder in (tmp_path / "link", tmp_path / "link" / "deeper"):
            with pytest.raises(InputError, match="is a link that leads nowhere; choose another --out"):
                require_writable_folder("--out", folder)

    def test_a_folder_where_a_file_should_be(self, tmp_path: Path):
        with pytest.raises(InputError, match=r"is a folder; name a file"):
            require_writable_file("--json", tmp_path)
        with pytest.raises(InputError, match="its folder does not exist"):
            require_writable_file("--json", tmp_path / "gone" / "a.json")
        with pytest.raises(InputError, match="longer than 255 bytes"):
            require_writable_file("--json", tmp_path / ("x" * 256))

    def test_a_full_disk_is_not_the_users_mistake(self, tmp_path: Path):
        with largest_file(0), pytest.raises(DimvidaError, match="File too large") as caught:
            require_writable_file("--json", tmp_path / "a.json")
        assert not isinstance(caught.value, InputError)

    def test_without_permission(self, tmp_path: Path):
        tmp_path.chmod(0o500)
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(InputError, match=f"no permission to write in {tmp_path}"):
            require_writable_folder("--out", tmp_path / "out")

    def test_an_exclusive_folder_asks_too(self, tmp_path: Path):
        with (
            pytest.raises(InputError, match="--out /proc/here: no file can be written"),
            exclusive_folder(NOWHERE, "taken"),
        ):
            raise AssertionError
        with exclusive_folder(tmp_path / "a" / "b", "taken"):
            assert (tmp_path / "a" / "b").is_dir()
            with pytest.raises(InputError, match="b: taken"), exclusive_folder(tmp_path / "a" / "b", "taken"):
                raise AssertionError


def test_folders_are_made_once(tmp_path: Path):
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "c").write_text(json.dumps(1))
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "c").read_text() == "1"
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a" / "b" / "c")
