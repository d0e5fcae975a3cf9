"""Options that several commands have: each is declared once; which device --device is, what float32 means there, and
variables in place of options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from helpers.commands import Started
from typer.models import OptionInfo

from dimvida.cli import options
from dimvida.cli.app import app
from dimvida.cli.options import command_line, parse_names, resolve_device, set_float32_precision
from dimvida.errors import InputError


@pytest.fixture
def precisions() -> Iterator[None]:
    """Puts the process's settings back."""
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [kind.fp32_precision for kind in kinds]
    yield
    for kind, value in zip(kinds, before, strict=True):
        kind.fp32_precision = value


@pytest.fixture
def chosen(monkeypatch, precisions: None) -> list[torch.device]:
    """Devices that became the current one, on a machine that seems to have GPUs; tensors are made on the CPU."""
    devices: list[torch.device] = []
    zeros = torch.zeros
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: zeros(*shape))
    return devices


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, None),
        ("a, b", ("a", "b")),
        ('"a, b",c', ("a, b", "c")),
        (' " a ", "b""c"', (" a ", 'b"c')),
        ('a"b,"c', ('a"b', '"c')),
    ],
)
def test_names_are_divided_by_commas_outside_of_quotes(text: str | None, names: tuple[str, ...] | None):
    assert parse_names("--classes", text) == names


@pytest.mark.parametrize("text", ["", "a,,b", "a,", '""', 'a,"a"'])
def test_names_that_are_none_or_there_twice_are_refused(text: str):
    with pytest.raises(InputError, match=r"--classes .*: (give names separated by commas|a name is there twice)"):
        parse_names("--classes", text)


@pytest.mark.parametrize(
    ("name", "rank", "device"),
    [
        ("cuda:1", None, "cuda:1"),
        ("cuda:1", "3", "cuda:1"),
        ("cuda:0", "3", "cuda:0"),
        ("cuda", None, "cuda:0"),
        ("cuda", "3", "cuda:3"),
        ("auto", None, "cuda:0"),
        ("auto", "3", "cuda:3"),
    ],
)
def test_a_gpu_becomes_the_current_device(chosen, monkeypatch, name: str, rank: str | None, device: str):
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert resolve_device(name) == torch.device(device)
    assert chosen == [torch.device(device)]


def test_a_cpu_sets_nothing(chosen):
    assert resolve_device("cpu") == torch.device("cpu")
    assert chosen == []


@pytest.mark.parametrize("name", ["cuda:x", "cuda:-1", "nothing", "", "meta"])
def test_what_is_no_device(name: str):
    with pytest.raises(InputError, match=f"--device {name}: not usable here"):
        resolve_device(name)


def test_a_rank_that_is_no_number(chosen, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "first")
    with pytest.raises(InputError, match=r"--device cuda: not usable here .*cuda:first"):
        resolve_device("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(monkeypatch, precisions: None):
    for rank in (None, "0"):
        if rank is not None:
            monkeypatch.setenv("LOCAL_RANK", rank)
        assert resolve_device("auto") == torch.device("cpu")
        with pytest.raises(InputError, match="--device cuda: not usable here"):
            resolve_device("cuda")


def test_float32_means_one_thing_whatever_was_set_before(recwarn, precisions: None):
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = "tf32", "ieee"
    set_float32_precision()
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    # Readers of the older settings see the same, and are not refused for a mixture.
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert [str(warning.message) for warning in recwarn] == []


def test_a_gpu_brings_that_setting(chosen):
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    resolve_device("cuda")
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def declared() -> Iterator[tuple[str, tuple[object, ...], str | None, OptionInfo]]:
    """Command, what tells an option from others, its help, and its declaration, for every option of every command."""

    def walk(group: typer.Typer, path: str = "") -> Iterator[tuple[str, inspect.Parameter]]:
        for command in group.registered_commands:
            for parameter in inspect.signature(command.callback, eval_str=True).parameters.values():
                yield f"{path}{command.name}", parameter
        for inner in group.registered_groups:
            yield from walk(inner.typer_instance, f"{path}{inner.name} ")

    for command, parameter in walk(app):
        for info in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(info, OptionInfo):
                name = (info.param_decls or [f"--{parameter.name}"])[0]
                yield command, (name, parameter.annotation.__origin__, info.metavar), info.help, info


def test_no_option_is_declared_twice():
    shared = {id(info) for value in vars(options).values() for info in getattr(value, "__metadata__", ())}
    common = {key for _, key, _, info in declared() if id(info) in shared}
    texts: dict[tuple[object, ...], str] = {}
    for command, key, text, info in declared():
        if id(info) not in shared:
            assert key not in common, f"{command}: options.py has {key}"
            other = texts.setdefault((*key, text), command)
            assert other == command, f"{command} and {other} declare the same {key}"


def test_results_say_the_command_without_what_is_secret_in_urls():
    context = typer.Context(typer.core.TyperCommand("train"))
    context.obj = ["train", "--data=https://me:word@host/set.zip?signature=1", "--out", "a?b", "--set", "x=1"]
    assert command_line(context) == ["dimvida", "train", "--data=https://host/set.zip", "--out", "a?b", "--set", "x=1"]


@pytest.mark.parametrize(
    "job", [["generate", "--view", "front"], ["train", "--preset", "tiny"]], ids=lambda job: job[0]
)
@pytest.mark.parametrize("variable", ["DIMVIDA_SIMD", "DIMVIDA_DTYPE"])
def test_a_variable_that_names_nothing_is_refused_at_once(tmp_path: Path, job: list[str], variable: str):
    out = tmp_path / "out"
    started = Started(*job, "--data", "sample", "--device", "cpu", "--out", out, **{variable: "mmx"})
    result = started.finish()
    assert (result.code, out.exists()) == (2, False)
    assert result.err.splitlines()[-1].startswith(f"error: {variable}=mmx: choose from ")
    assert "autoencoder:" not in result.err
