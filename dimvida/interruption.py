"""Ctrl-C, SIGTERM and SIGHUP: raised in the main thread, once, and nowhere where that would leave things half done.

An exception between any two instructions is safe almost nowhere: not while threads start or are waited for, not in
a ``finally``. So signals are held there and raised where the work says that it may be left.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_IMPORTERS = ("importlib._bootstrap", "_frozen_importlib")  # the same, once importlib is imported and before
_COMPILERS = ("torch._dynamo.", "torch._functorch.", "torch._inductor.")
_POLL = 0.1  # seconds in which a signal is handled while other threads are waited for
T = TypeVar("T")


class _State:
    first: int | None = None  # the signal that came first
    held = False  # whether it is only noted
    working = False  # whether something is held further out, so that there may be things to put in order
    leaves = False  # whether a signal may end the process at once
    process = 0


def install() -> None:
    """For the rest of this process, whose work is a command, let signals end it in order.

    The first one is raised as KeyboardInterrupt. While modules are imported or torch.compile is at work, which are not
    made for that, and with a second ctrl-C, the process ends at once. What was ignored from the start, as by
    ``nohup``, stays so.
    """
    _State.leaves, _State.process = True, os.getpid()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def finish() -> None:
    """The work is done: from here on signals change nothing about its outcome."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def first_signal() -> int | None:
    """The signal that came first, None if none did."""
    return _State.first


def exit_code() -> int:
    """128 and the number of the signal that came, 130 for ctrl-C."""
    return 128 + (_State.first or signal.SIGINT)


def message() -> str:
    """What to tell of it."""
    number = _State.first or signal.SIGINT
    return "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"


@contextmanager
def held() -> Iterator[None]:
    """While entered, signals are noted, and raised at the end or where ``let_in`` is entered.

    In the main thread of a program of one's own this is so for ctrl-C, unless it has a handler of its own.

    Raises:
        KeyboardInterrupt: At the end, if one came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    borrowed = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = _State.held, _State.working
    if not _State.leaves:
        _State.process = os.getpid()
    if borrowed:
        signal.signal(signal.SIGINT, _handle)
    _State.held = _State.working = True
    try:
        yield
    finally:
        _State.held, _State.working = before
        came = _State.first
        if not _State.leaves and not _State.working:
            _State.first = None  # it is this block's, and a program goes on with other things
        if borrowed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if came is not None and not _State.held:
        raise KeyboardInterrupt


class let_in:
    """Within ``held``: while entered, signals are raised, one that came before at once."""

    def __enter__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before, _State.held = _State.held, False
            check()

    def __exit__(self, *exception: object) -> None:
        if self._main:
            _State.held = self._before


def check() -> None:
    """Raise KeyboardInterrupt if a signal came, even if what was raised for it was swallowed."""
    if _State.first is not None and threading.current_thread() is threading.main_thread():
        _State.held = _State.working
        raise KeyboardInterrupt


def aside(work: Callable[[], T]) -> T:
    """Do what waits outside of Python, where no signal is handled, in a thread beside this one, which may be left.

    Raises:
        KeyboardInterrupt: A signal came; the work is left to itself.
        BaseException: Whatever the work raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    from concurrent.futures import Future  # too much for a command that has only begun

    result: Future[T] = Future()

    def body() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=body, name="dimvida-aside", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL)
    return result.result()


def stop_at_once() -> NoReturn:
    """What a second ctrl-C does to work that has its own answer to the first: a command's process ends with its line.

    Raises:
        KeyboardInterrupt: In a program of one's own, and in a forked child.
    """
    if _State.leaves and os.getpid() == _State.process:
        _leave()
    raise KeyboardInterrupt


@contextmanager
def blocked() -> Iterator[None]:
    """Processes that are started meanwhile never get these signals, which whole groups of processes are sent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent() -> None:
    """Have this child process killed when the one that started it is gone, however that ended; on Linux only."""
    if sys.platform == "linux":
        import ctypes  # too much for a command that has only begun

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _handle(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _State.process:  # a forked child, whose end is nobody's business
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    if not _State.leaves and not _State.working:  # just before or after a block of another program
        raise KeyboardInterrupt
    if _State.first is not None:
        if _State.leaves and number == signal.SIGINT:
            _leave()
        return
    _State.first = number
    if _State.leaves and not _State.working and _bears_none(frame):
        _leave()
    if not _State.held:
        _State.held = _State.working
        raise KeyboardInterrupt


def _bears_none(frame: FrameType | None) -> bool:
    """Whether an exception raised here is met by what is not made for one and reports it in ways of its own."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module in _IMPORTERS or module.startswith(_COMPILERS):
            return True
        frame = frame.f_back
    return False


def _leave() -> NoReturn:
    # Past all buffers and locks, which this thread may be in the middle of.
    with suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            tidied = "\x1b[?25h\r\x1b[2K" if os.isatty(2) else ""  # the cursor is there again, a bar is not
            os.write(2, f"{tidied}error: {message()}\n".encode())
    os._exit(exit_code())
