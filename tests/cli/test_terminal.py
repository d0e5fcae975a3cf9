"""Output that cannot be shown stops no work, and names cannot command the terminal that shows them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dimvida.cli.terminal import WIDTH, print_table, printable
from dimvida.results.tables import Column, Table, TableCell, text_column

OBJECTS = 6
ESCAPES = "\x1b]0;OWNED\x07\x1b[31mred\u202etxt\x9bJ"
SHOWN = r"\u001b]0;OWNED\u0007\u001b[31mred\u202etxt\u009bJ"


@pytest.fixture
def images(tmp_path: Path, write_fronts) -> Path:
    root = write_fronts(tmp_path / "images", OBJECTS, class_name="stühle-椅子")
    (root / "stühle-椅子" / f"{ESCAPES}__front.png").write_bytes(b"no image")
    return root


@pytest.fixture
def command(images: Path, generation) -> Callable[..., list[str]]:
    def make(output: Path, *more: object) -> list[str]:
        return [sys.executable, "-m", "dimvida", *generation(images, output, "--shard-size", 2, "--skip-bad", *more)]

    return make


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ESCAPES, SHOWN),
        ("a\nerror: b\r\tc\x7f", r"a\u000aerror: b\u000d\u0009c\u007f"),
        ("\udcff\u2028\u2066", r"\udcff\u2028\u2066"),
        ("Stühle 椅子 \U0001f600 שלום", "Stühle 椅子 \U0001f600 שלום"),
    ],
)
def test_printable(text: str, shown: str):
    assert printable(text) == shown


def test_errors_and_notes_show_no_commands(dimvida, images, tmp_path, tiny_checkpoint):
    result = dimvida("generate", "--data", f"{images}/{ESCAPES}", "--out", tmp_path / "out")
    assert result.code == 2 and SHOWN in result.err and "\x1b" not in result.err
    result = dimvida("generate", "--data", images, "--out", tmp_path / "out", "--checkpoint", tiny_checkpoint)
    assert result.code == 1
    assert f"skipped stühle-椅子/{SHOWN}__front.png" in result.err and "\x1b" not in result.out + result.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_the_terminal(command, tmp_path: Path, encoding: str):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(command(tmp_path / "out"), capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    text = done.stderr.decode(encoding)
    assert "UnicodeEncodeError" not in text and r"\u001b]0;OWNED\u0007" in text
    assert ("stühle" if encoding != "ascii" else r"st\u00fchle") in text


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_printed_json_stays_json(images, tmp_path: Path, encoding: str):
    arguments = [sys.executable, "-m", "dimvida", "data", "inspect", str(images), "--print-json", "--rows", "0"]
    done = subprocess.run(arguments, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert "stühle-椅子" in json.dumps(json.loads(done.stdout.decode(encoding)), ensure_ascii=False)


@pytest.mark.parametrize(("encoding", "rule"), [("ascii", "---"), ("utf-8", "───")])
def test_tables_look_the_same_with_few_characters(images, encoding: str, rule: str):
    arguments = [sys.executable, "-m", "dimvida", "data", "inspect", str(images), "--rows", "0"]
    done = subprocess.run(arguments, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding})
    lines = done.stdout.decode(encoding).splitlines()
    heading = next(number for number, line in enumerate(lines) if line.startswith(" class "))
    assert lines[heading + 1].startswith(f" {rule}") and "|" not in lines[heading] and "\\u2500" not in str(lines)


def test_plus_and_minus_fit_the_terminal():
    code = "from dimvida.cli.terminal import fitting; print(fitting('±'))"
    for encoding, text in (("ascii", "+-"), ("latin-1", "±"), ("utf-8", "±")):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
        assert done.stdout.decode(encoding).strip() == text


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("kind", ["pipe", "closed", "terminal"])
def test_a_reader_that_goes_away_stops_nothing(command, tmp_path: Path, stream: str, kind: str):
    reader, writer = os.pipe() if kind == "pipe" else pty.openpty()
    number = {"stdout": 1, "stderr": 2}[stream]
    if kind == "closed":
        run = subprocess.Popen(command(tmp_path / "out"), preexec_fn=lambda: os.close(number))
    else:
        run = subprocess.Popen(command(tmp_path / "out"), **{stream: writer}, start_new_session=True)
    os.close(writer)
    os.close(reader)
    assert run.wait() == 0
    assert (tmp_path / "out" / "report.json").exists()
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 3 * OBJECTS


def test_a_full_disk_under_standard_output_is_told(command, tmp_path: Path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(command(tmp_path / "out"), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: standard output cannot be written (No space left on device)"
    assert (tmp_path / "out" / "report.json").exists()


def test_a_pipe_that_does_not_wait_gets_everything(images):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = (
        "import sys; from dimvida.cli import terminal; terminal.guard_streams()\n"
        "for number in range(20000): print(f'line {number}')"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=writer)
    os.close(writer)
    with open(reader) as file:
        lines = file.read().splitlines()
    assert run.wait() == 0
    assert lines == [f"line {number}" for number in range(20000)]


def test_a_terminal_gets_the_bar_and_no_command_of_a_name(command, tmp_path: Path):
    pexpect = pytest.importorskip("pexpect")
    python, *arguments = command(tmp_path / "out")
    child = pexpect.spawn(python, arguments, dimensions=(24, 80), encoding="utf-8", timeout=600)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "\x1b[2K" in child.before and "generating" in child.before  # a bar
    assert "\x1b]0;" not in child.before and "\x1b[31mred" not in child.before and "\u202e" not in child.before
    assert r"\u001b]0;OWNED" in child.before.replace("\r\n", "")


def test_quiet_leaves_results_and_errors(dimvida, images, tmp_path: Path, tiny_checkpoint):
    options = ("--data", images, "--checkpoint", tiny_checkpoint)
    for arguments in (("--quiet", "generate"), ("generate", "-q")):
        result = dimvida(*arguments, *options, "--out", tmp_path / arguments[0])
        assert result.code == 1
        assert len(result.err.splitlines()) == 1 and "cannot be read" in result.errors[0]
        assert len(result.out.splitlines()) == 1 and result.out.startswith("done: ")
    assert "generating" in dimvida("generate", *options, "--out", tmp_path / "loud").err


def test_a_dumb_terminal_gets_lines(command, tmp_path: Path):
    pexpect = pytest.importorskip("pexpect")
    python, *arguments = command(tmp_path / "out")
    environment = os.environ | {"TERM": "dumb"}
    child = pexpect.spawn(python, arguments, encoding="utf-8", timeout=600, env=environment)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "\x1b" not in child.before and "━" not in child.before
    assert re.search(r"generating: (\d+)/\1 views, ", child.before), repr(child.before)


def test_a_folder_that_was_removed_under_it_is_told(tmp_path: Path):
    (tmp_path / "gone").mkdir()
    code = (
        "import os, sys; from dimvida.__main__ import main\n"
        "os.rmdir(os.getcwd()); sys.argv = ['dimvida', 'doctor']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "gone", capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: the folder that this was started in is not there any more; change to another\n"


@pytest.mark.parametrize("caption", ["short", "a caption far wider than the two columns of its table", "words " * 30])
def test_a_table_is_as_wide_as_its_columns_whatever_its_caption(capsys, caption: str):
    rows = [(TableCell("encode"), TableCell("2.15"))]
    print_table(Table(caption, (text_column("stage"), Column("ms")), rows))
    lines = capsys.readouterr().out.splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.split() == ["stage", "ms"])
    assert " ".join("".join(f"{line} " for line in lines[:first]).split()) == caption.strip()
    assert max(map(len, lines[:first])) <= WIDTH
    assert lines[first + 2].split() == ["encode", "2.15"]
    assert len(lines[first + 2].rstrip()) <= len(" encode    2.15")
