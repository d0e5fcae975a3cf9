"""``dimvida reproduce`` is one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import command


def test_it_is_not_for_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = command("reproduce", "--data", tmp_path, "--out", tmp_path / "out")
    assert result.code == 2
    assert result.errors == ["error: reproduce runs in one process; start it without torchrun"]
    assert not (tmp_path / "out").exists()
