"""``dimvida generate`` as a process of its own: interrupted, on a terminal, without one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import at_shard, wait_until_it_stops

OBJECTS = 24


@pytest.fixture
def images(tmp_path: Path, write_fronts) -> Path:
    return write_fronts(tmp_path / "images", OBJECTS, unreadable=[7])


def command(images: Path, output: Path, checkpoint: Path, *options: str) -> list[str]:
    arguments = ["generate", "--data", str(images), "--out", str(output), "--checkpoint", str(checkpoint)]
    return [sys.executable, "-m", "dimvida", *arguments, "--skip-bad", *options]


def test_ctrl_c_says_how_to_continue(images, tmp_path: Path, tiny_checkpoint):
    arguments = command(images, tmp_path / "out", tiny_checkpoint, "--shard-size", "8")[3:]
    process = subprocess.Popen(
        at_shard(1, signal.SIGSTOP, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until_it_stops(process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped; the same command continues" in errors.splitlines()
    assert errors.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "metadata.jsonl").exists()


def test_plain_lines_without_a_terminal(images, tmp_path: Path, tiny_checkpoint):
    done = subprocess.run(
        command(images, tmp_path / "out", tiny_checkpoint), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    views = 3 * OBJECTS
    assert re.search(rf"^generating: {views}/{views} views, [\d.]+ views/s, 0 s left$", done.stderr, re.MULTILINE)
    assert "\x1b" not in done.stdout + done.stderr
    assert "skipped chair/07__front.png: not an image" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("done: 69 views of 23 objects, 1 file skipped")


def test_a_bar_within_the_terminal(images, tmp_path: Path, tiny_checkpoint):
    pexpect = pytest.importorskip("pexpect")
    python, *arguments = command(Path("images"), Path("out"), tiny_checkpoint, "--batch", "4", "--sheet", "sheet.png")
    child = pexpect.spawn(python, arguments, cwd=str(tmp_path), dimensions=(24, 80), encoding="utf-8", timeout=600)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "\x1b[" in child.before
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    lines = re.split(r"[\r\n]+", text)
    assert any(re.search(r"generating .*\d+/72 .*views/s", line) for line in lines)
    assert max(map(len, lines)) <= 80, max(lines, key=len)
