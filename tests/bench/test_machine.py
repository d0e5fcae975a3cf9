"""Facts about the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

from dimvida.bench import machine


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"x / ext4 rw 0 0\ny {tmp_path} tmpfs rw 0 0\nz {tmp_path}-other xfs rw 0 0\n")
    monkeypatch.setattr(machine, "MOUNTS", mounts)
    assert machine.filesystem(tmp_path / "deeper") == "tmpfs"
    assert machine.filesystem(Path("/")) == "ext4"
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "nowhere")
    assert machine.filesystem(tmp_path) is None


def test_the_processors_flags(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.cpu_flags() == frozenset()  # not on Linux
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2\n\nprocessor\t: 1\n")
    assert machine.cpu_flags() == {"fpu", "avx2"}
    assert machine.hardware(torch.device("cpu"))["cpu"] == "Some CPU"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: asimd bf16\n")
    assert machine.cpu_flags() == {"asimd", "bf16"}


def test_the_commit_of_a_checkout(tmp_path: Path):
    assert machine.commit(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    git("tag", "v1")
    assert machine.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert machine.commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_threads_are_set_for_the_time_being():
    before = torch.get_num_threads()
    with machine.torch_threads(before + 2):
        assert torch.get_num_threads() == before + 2
    with machine.torch_threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
