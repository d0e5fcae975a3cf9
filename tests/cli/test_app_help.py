"""Every command explains itself on one screen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

NEED_NOTHING = [("bench", "sampling"), ("bench", "generation"), ("bench", "training")]
COMMANDS = [
    (),
    ("generate",),
    ("turntable",),
    ("train",),
    ("evaluate",),
    ("classify",),
    ("report",),
    ("reproduce",),
    ("doctor",),
    ("data",),
    ("data", "inspect"),
    ("data", "partition"),
    ("data", "render"),
    ("data", "shapes"),
    ("bench",),
    ("bench", "sampling"),
    ("bench", "solvers"),
    ("bench", "generation"),
    ("bench", "training"),
]


pytestmark = pytest.mark.usefixtures("narrow_terminal")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_a_screen(dimvida, command: tuple[str, ...]):
    result = dimvida(*command, "--help")
    assert result.code == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", result.out).splitlines()
    assert any("Usage:" in line for line in lines)
    assert max(map(len, lines)) <= 80
    # Columns, views of NMR, classes, limit and a cluster are asked of few commands that had as many options as a screen
    # has room for.
    assert len(lines) <= {("generate",): 52, ("classify",): 48, ("evaluate",): 46}.get(command, 45)
    assert "…" not in result.out  # nothing was cut to fit


def test_every_command_is_tested_here(dimvida):
    for group in ((), ("bench",), ("data",)):
        text = dimvida(*group, "--help").out.split("Commands")[1]
        listed = [(*group, name) for name in re.findall(r"^│ (\w[\w-]*)", text, re.MULTILINE)]
        assert listed == [command for command in COMMANDS if command and command[:-1] == group]


def test_help_needs_no_torch():
    code = "import sys; from dimvida.cli.app import run; run(['generate', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("arguments", [("--version",), ("-V",), ("generate", "-V"), ("data", "render", "--version")])
def test_version(dimvida, arguments: tuple[str, ...]):
    result = dimvida(*arguments)
    assert result.code == 0
    assert re.fullmatch(r"dimvida \d+\.\d+\.\d+\S*\n", result.out)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("generate",), "--data"),
        (("generate", "--nope"), "--nope"),
        (("nope",), "nope"),
        (("evaluate",), "--data"),
        (("evaluate", "--data", "x", "--limit", "0"), "--limit"),
    ],
)
def test_wrong_usage_is_one_line(dimvida, arguments, named):
    result = dimvida(*arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert named in result.errors[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_is_needed_and_which_options_all_have(dimvida, command: tuple[str, ...]):
    text = " ".join(re.sub(r"[│╭╰─╮╯]", " ", dimvida(*command, "--help").out).split())
    if command not in [(), ("bench",), ("data",)]:
        assert "Everywhere: -q, -V, --debug." in text
        assert "<bool>" not in text  # a flag takes no value
        lacking = dimvida(*command).errors if command not in [("doctor",), *NEED_NOTHING] else []
        for line in lacking:
            name = re.search(r"'([^']+)'", line)[1]
            assert re.search(rf"\* +{re.escape(name)} ", text), line


def test_help_loses_nothing_of_a_text():
    """In brackets it would be taken for markup."""
    from dimvida.cli.app import app

    for command in walk(typer.main.get_command(app)):
        for param in command.params:
            assert not re.search(r"\[[a-z/]", getattr(param, "help", None) or ""), param.name


def walk(command) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from walk(inner)


@pytest.mark.parametrize(
    ("command", "texts"),
    [
        ("generate", ["--out", "same command continues", "Of the noise"]),
        ("train", ["train, training or alike", "trains on its part d", "0: never"]),
        ("evaluate", ["test, testing or alike", "objects of its part e"]),
        ("classify", ["same command continues", "parts c and e", "divide this split (default: test)", "0: never"]),
        ("reproduce", ["same command continues", "Fit all into so long"]),
    ],
)
def test_an_option_says_what_it_does_in_this_command(dimvida, command: str, texts: list[str]):
    """Where options of one name do different things: one text for all would be wrong of most."""
    text = " ".join(re.sub(r"[│╭╰─╮╯]", " ", dimvida(command, "--help").out).split())
    assert [part for part in texts if part not in text] == []


def test_one_thing_has_one_name(dimvida):
    """What a command judges with, and what it writes numbers to."""
    for command in COMMANDS:
        text = dimvida(*command, "--help").out
        assert not re.search(r"--(coherence-classifier|input|output)\b", text)
        assert re.search(r"--json +FILE", text) or not re.search(r"--json\b", text)
    for command in ("evaluate", "classify"):
        assert re.search(r"--judge +DIR", dimvida(command, "--help").out)


@pytest.mark.parametrize("option", ["--judge", "--classifier", "--coherence-classifier"])
def test_old_names_of_the_judge(dimvida, tmp_path, objects, option: str):
    result = dimvida("evaluate", "--data", objects, "--known", 1, option, tmp_path / "nowhere")
    assert "nowhere: no classifier there" in result.refusal()


def test_verify_needs_no_other_option(dimvida, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path / "nope") in dimvida("generate", "--verify=~/nope").refusal()


def test_old_spellings_work_and_are_not_shown(dimvida, tmp_path, objects):
    options = ("--view", "front", "--dry-run")
    new = dimvida("generate", "--data", objects, "--out", tmp_path / "a", *options)
    old = dimvida("generate", f"--input={objects}", "--output", tmp_path / "a", *options)
    # But for what was measured: others write to this disk, and use this machine.
    told, told_before = (re.sub(r"about .*? for|, and \S+ \w+ are free", "", out) for out in (new.out, old.out))
    assert (new.code, told) == (old.code, told_before) and "size: about" in told
    for command in ("generate", "reproduce"):
        text = dimvida(command, "--help").out
        assert not re.search(r"--(input|output|budget)\b", text)
    assert "--budget" in dimvida("classify", "--help").out  # another thing, which has always had this name
    assert "--minutes -1" in dimvida("reproduce", "--data", objects, "--out", tmp_path, "--budget", -1).errors[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--data", "x", "--out", "https://example.org/run"),
        ("evaluate", "--data", "x", "--checkpoint", "s3://bucket/model"),
        ("report", "x", "--out", "https://example.org/report"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_web_address_is_refused_as_it_was_given(dimvida, arguments):
    line = dimvida(*arguments).refusal()
    assert re.search(r"(https|s3)://\S+: web addresses are not read; download it", line)


def test_half_an_address_is_refused_as_it_was_given(dimvida):
    assert dimvida("data", "inspect", "s3://").refusal().startswith("error: s3://: names a kind of place, and none")


@pytest.mark.parametrize("option", ["--data", "--out", "--verify"])
def test_the_memory_of_the_process_is_refused(dimvida, objects, tmp_path, option: str):
    arguments = {"--data": objects, "--out": tmp_path / "out", option: "memory://a"}
    line = dimvida("generate", *(word for pair in arguments.items() for word in pair)).refusal()
    assert line == "error: memory://a: this memory is gone when the command ends; name a folder or a bucket"


@pytest.mark.parametrize(
    "option",
    [["--checkpoint", "hf://a/b"], ["--checkpoint=hf://a/b"], ["--checkpoint", "HF://a/b"]],
    ids=["two", "one", "capitals"],
)
def test_a_model_on_the_hub_is_taken_for_a_checkpoint(dimvida, objects, tmp_path, monkeypatch, option):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    line = dimvida("generate", "--data", objects, "--out", tmp_path / "out", *option).refusal()
    assert f"hf://a/b: HF_HUB_OFFLINE is set, and {tmp_path} holds no whole copy of a/b at 'main'" in line


def test_a_home_folder_is_found_in_every_spelling(dimvida, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for arguments in (("data", "inspect", "~/nope"), ("evaluate", "--data=~/nope"), ("report", "~/nope", "--out=~/x")):
        assert str(tmp_path / "nope") in dimvida(*arguments).errors[0]
    assert "~nobody-of-that-name/x" in dimvida("data", "inspect", "~nobody-of-that-name/x").errors[0]


@pytest.mark.parametrize("group", [(), ("data",), ("bench",)], ids=" ".join)
def test_without_a_command_the_help_is_shown(dimvida, group: tuple[str, ...]):
    result = dimvida(*group)
    assert (result.code, result.err) == (2, "")
    assert result.out.strip() == dimvida(*group, "--help").out.strip() != ""


def test_completion():
    variables = {"_DIMVIDA_COMPLETE": "complete_bash", "COMP_WORDS": "dimvida gen", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['dimvida']; from dimvida.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True)
    assert done.stdout.split() == ["generate"]
