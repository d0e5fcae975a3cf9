"""Signals: raised once, where the work may be left, and noted elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from dimvida import interruption


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_held_signals_are_raised_at_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), interruption.held():
        ctrl_c()
        ctrl_c()
        done.append("all of it")
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert interruption.first_signal() is None  # what the program does next was not interrupted


def test_nothing_is_raised_where_nothing_came():
    with interruption.held(), interruption.let_in():
        pass
    with interruption.held():  # nor what came to another block
        interruption.check()


def test_they_are_raised_where_they_are_let_in():
    done = []
    with pytest.raises(KeyboardInterrupt), interruption.held():
        try:
            with interruption.let_in():
                ctrl_c()
                done.append("not this")
        finally:
            ctrl_c()  # is not raised a second time
            done.append("put in order")
    assert done == ["put in order"]
    assert interruption.first_signal() is None


def test_one_that_came_before_is_raised_when_they_are_let_in():
    with pytest.raises(KeyboardInterrupt), interruption.held():
        ctrl_c()
        with interruption.let_in():
            pytest.fail("went on")


def test_one_that_a_library_swallowed_is_found_by_looking():
    found = []
    with pytest.raises(KeyboardInterrupt), interruption.held():
        with interruption.let_in():
            try:
                ctrl_c()
            except KeyboardInterrupt:
                found.append("swallowed")
        interruption.check()
        pytest.fail("went on")
    assert found == ["swallowed"]


def test_other_threads_are_let_alone():
    def work() -> None:
        with interruption.held(), interruption.let_in():
            interruption.check()

    with pytest.raises(KeyboardInterrupt), interruption.held():
        ctrl_c()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def test_what_waits_outside_of_python_may_be_left():
    gate = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        interruption.aside(lambda: (ctrl_c(), gate.wait()))
    gate.set()
    assert interruption.aside(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        interruption.aside(lambda: 1 // 0)


COMMAND = """
import os, signal, sys, time
from dimvida import interruption
interruption.install()
{body}
"""


def run(body: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", COMMAND.format(body=body)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("number", "line"), [("SIGINT", "interrupted"), ("SIGTERM", "stopped by SIGTERM"), ("SIGHUP", "stopped by SIGHUP")]
)
def test_while_modules_are_imported_a_command_ends_at_once(tmp_path, number: str, line: str):
    (tmp_path / "slow.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{number})\nprint('went on')\n")
    done = run(f"sys.path.insert(0, {str(tmp_path)!r}); import slow")
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.Signals[number], "", f"error: {line}\n")


def test_a_second_ctrl_c_ends_a_command_that_does_not_get_on():
    done = run(
        "with interruption.held():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('noted', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('went on', flush=True)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "noted\n", "error: stopped by SIGTERM\n")


def test_a_second_ctrl_c_stops_work_with_an_answer_of_its_own():
    done = run(
        "from dimvida.training.control import Interrupt\nwith Interrupt():\n    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n        print('asked', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n    finally:\n        print('went on', flush=True)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "asked\n", "error: interrupted\n")


def test_while_torch_compile_is_at_work_a_command_ends_at_once():
    """What it traces reports an exception, with a stack, before it passes it on."""
    done = run(
        "import torch\ndef backend(graph, inputs):\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally:\n        print('went on', flush=True)\n"
        "torch.compile(lambda x: x + 1, backend=backend)(torch.ones(1))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_what_is_ignored_from_the_start_stays_so():
    """As by nohup, and for ctrl-C in what a script started in the background."""

    def ignore() -> None:
        for number in interruption.SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    done = run("for number in interruption.SIGNALS: os.kill(os.getpid(), number)\nprint('went on')", preexec_fn=ignore)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


def test_a_forked_process_ends_as_others_do():
    done = run(
        "if (child := os.fork()) == 0:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n"
        "print(os.WTERMSIG(os.waitpid(child, 0)[1]))"
    )
    assert (done.stdout, done.stderr) == (f"{int(signal.SIGTERM)}\n", "")


def test_processes_that_are_started_blocked_never_get_them():
    with interruption.blocked():
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for number in interruption.SIGNALS:
        child.send_signal(number)
    out, _ = child.communicate(b"still here")
    assert (child.returncode, out) == (0, b"still here")
