"""``dimvida generate`` as a process of its own: interrupted, on a terminal, without one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

OBJECTS = 24


@pytest.fixture
def images(tmp_path: Path, tiny_image) -> Path:
    folder = tmp_path / "images" / "chair"
    folder.mkdir(parents=True)
    for number in range(OBJECTS):
        tiny_image(number).save(folder / f"{number:02d}__front.png")
    (folder / "07__front.png").write_bytes(b"not an image")
    return folder.parent


def command(images: Path, output: Path, checkpoint: Path, *options: str) -> list[str]:
    arguments = ["generate", "--data", str(images), "--out", str(output), "--checkpoint", str(checkpoint)]
    return [sys.executable, "-m", "dimvida", *arguments, "--skip-bad", *options]


def finished_shards(output: Path) -> int:
    return len(list(output.glob("shard-*.json")))


def test_ctrl_c_says_how_to_continue(images, tmp_path: Path, tiny_checkpoint):
    # So many draws that the run cannot end before the signal arrives.
    arguments = command(images, tmp_path / "out", tiny_checkpoint, "--shard-size", "8", "--samples-per-view", "500")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while finished_shards(tmp_path / "out") < 1 and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
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
    assert done.stdout.splitlines()[-1].startswith("done: 69 views of 23 objects, 1 files skipped")


def test_a_bar_within_the_terminal(images, tmp_path: Path, tiny_checkpoint):
    pexpect = pytest.importorskip("pexpect")
    python, *arguments = command(Path("images"), Path("out"), tiny_checkpoint, "--batch", "4", "--sheet", "sheet.png")
    child = pexpect.spawn(python, arguments, cwd=str(tmp_path), dimensions=(24, 80), encoding="utf-8", timeout=120)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "\x1b[" in child.before
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    lines = re.split(r"[\r\n]+", text)
    assert any(re.search(r"generating .*\d+/72 .*views/s", line) for line in lines)
    assert max(map(len, lines)) <= 80, max(lines, key=len)
