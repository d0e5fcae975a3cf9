"""A job that finds another one at work: what it waits for, and what not."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from dimvida.generation import jobs
from dimvida.generation.jobs import alone
from dimvida.generation.lock import FolderBusy


def open_beside(monkeypatch, led: bool, tries: int) -> list[int]:
    """A driver, which is patient, opens a folder that is busy for so many tries."""
    seconds, tried = itertools.count(), []
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda pause: None))
    monkeypatch.setattr(jobs, "stored_configuration", lambda folder: {})

    def take(name: str, rank: int) -> None:
        tried.append(rank)
        if len(tried) <= tries:
            raise FolderBusy("views", led)

    output = SimpleNamespace(open=take, overwrite=False, folder="views", shards=())
    assert alone(patience=60).open(output, SimpleNamespace()) == []
    return tried


def test_what_a_lost_driver_left_is_waited_for(monkeypatch):
    assert len(open_beside(monkeypatch, led=False, tries=50)) == 51
    with pytest.raises(FolderBusy, match="views: another run is writing to it"):
        open_beside(monkeypatch, led=False, tries=70)


def test_a_driver_that_lives_is_not(monkeypatch):
    with pytest.raises(FolderBusy, match="views: another run is writing to it"):
        open_beside(monkeypatch, led=True, tries=1)
