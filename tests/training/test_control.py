"""Signals and time ask for an end; only impatience takes it."""

from __future__ import annotations

import os
import signal

import pytest

from dimvida.interruption import SIGNALS
from dimvida.training.control import Interrupt


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_and_is_announced_at_once(number: signal.Signals):
    before = [signal.getsignal(other) for other in SIGNALS]
    announced: list[signal.Signals] = []
    with Interrupt(announce=announced.append) as interrupt:
        assert not interrupt.requested
        send(number)
        assert announced == [number] == [interrupt.signal]
        assert interrupt.requested
    assert [signal.getsignal(other) for other in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_so(number: signal.Signals):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            send(number)
            assert not interrupt.requested
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_second_ctrl_c_stops_at_once():
    with Interrupt() as interrupt:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert interrupt.signal == signal.SIGINT


def test_a_batch_system_may_repeat_itself():
    announced: list[signal.Signals] = []
    with Interrupt(announce=announced.append) as interrupt:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            send(number)
        assert announced == [signal.SIGTERM] == [interrupt.signal]
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_time_asks_without_a_signal():
    with Interrupt(minutes=1e-9) as interrupt:
        while not interrupt.requested:
            pass
        assert interrupt.signal is None
    assert not Interrupt(minutes=60).requested
