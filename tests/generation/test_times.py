"""Times of stages; on a GPU from events, which belong to the device that works."""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar

import pytest
import torch

from dimvida.generation.times import STAGES, StageTimes


def test_host_and_device_stages_add_up_on_a_cpu():
    times = StageTimes(torch.device("cpu"))
    with times.host("read"), times.device("sample"):
        torch.randn(64, 64) @ torch.randn(64, 64)
    times.add("read", 100)
    totals = times.totals()
    assert tuple(totals) == STAGES
    assert totals["read"] > 100 and 0 < totals["sample"] < totals["read"] and totals["write"] == 0


class Event:
    """In place of ``torch.cuda.Event``: remembers the stream it was recorded on."""

    made: ClassVar[list[Event]] = []

    def __init__(self, enable_timing: bool = False) -> None:
        self.streams: list[object] = []
        self.made.append(self)

    def record(self, stream: object = "of the current device") -> None:
        self.streams.append(stream)

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return 2500.0


@pytest.mark.parametrize("failing", [False, True])
def test_events_are_recorded_on_the_device_that_works(monkeypatch, failing: bool):
    """There is no GPU on most machines: what is asked of torch.cuda stands for it."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"stream of {device}")
    monkeypatch.setattr(Event, "made", [])
    times = StageTimes(torch.device("cuda:1"))
    with pytest.raises(ZeroDivisionError) if failing else nullcontext(), times.device("decode"):
        assert not failing or 1 / 0
    assert Event.made[0].streams[:1] == ["stream of cuda:1"]
    if failing:
        assert times.totals()["decode"] == 0
    else:
        assert [event.streams for event in Event.made] == [["stream of cuda:1"]] * 2
        assert times.totals()["decode"] == 2.5
