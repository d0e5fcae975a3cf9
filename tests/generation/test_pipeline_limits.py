"""Stages where the system gives no more threads, and what the collector of garbage leaves alone meanwhile."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import pytest
import torch

from dimvida.errors import DimvidaError
from dimvida.generation.formats import base
from dimvida.generation.pipeline import spared_from_collection


@pytest.mark.parametrize("name", ["read", "pack", "write", "finish", "hash"])
def test_a_thread_that_cannot_be_started_ends_a_run_with_one_line(start, tmp_path: Path, monkeypatch, name: str):
    begin = threading.Thread.start

    def refuse(self) -> None:
        if self.name.startswith(f"dimvida-{name}"):
            raise RuntimeError("can't start new thread")
        begin(self)

    monkeypatch.setattr(base, "_WORTH_A_THREAD", 1 << 10)  # less than a batch, more than a header
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(DimvidaError, match=r"^can't start new thread; .* \(ulimit -u\)$"),
        start(tmp_path / "out", format="npy") as generation,
    ):
        generation.run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dimvida-")]
    assert not [path for path in (tmp_path / "out").glob(".*")]


@pytest.mark.parametrize(("device", "freed"), [("cpu", False), ("cuda", True)])
def test_what_was_there_is_left_alone_but_for_garbage_on_a_gpu(device: str, freed: bool):
    class Holder:
        pass

    gc.disable()  # else the garbage may go by itself
    try:
        holder = Holder()
        holder.itself, gone = holder, weakref.ref(holder)
        del holder
        with spared_from_collection(torch.device(device)):
            assert gc.get_freeze_count() > 0 and (gone() is None) == freed
            with spared_from_collection(torch.device(device)):  # of another run
                pass
            assert gc.get_freeze_count() > 0
    finally:
        gc.enable()
    assert gc.get_freeze_count() == 0
