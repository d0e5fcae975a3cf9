"""Damaged checkpoints are refused in one line, or change no weight; and a kill leaves a usable one."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dimvida.errors import InputError
from dimvida.models.checkpoint import (
    WEIGHT_FILES,
    load_checkpoint,
    save_checkpoint,
)
from dimvida.models.weights import JSON_LIMIT

from .conftest import edit_config, make_checkpoint, same_weights

AUTOENCODER, SCORE, LATENTS = WEIGHT_FILES


def edit_tensors(path: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    edit_config(path.parent, "sha256")
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def edit_tensor(path: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = tensors[name].to(dtype)
        tensors[name].view(-1)[0] = value

    edit_tensors(path, edit)


def put(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def deep(brackets: int) -> str:
    return '{"schema": 1, "provenance": ' + "[" * brackets + "]" * brackets + "}"


def edit_tensor_of_a_copy(folder: Path) -> None:
    """Weights of the same sizes from elsewhere, as whole as its own."""
    hashes = json.loads((folder / "config.json").read_text())["sha256"]
    edit_tensor(folder / SCORE, "input.bias", 1.0)
    edit_config(folder, sha256=hashes)


DAMAGES = {
    "newer schema": (lambda f: edit_config(f, schema=2), "newer than this dimvida reads"),
    "older schema": (lambda f: edit_config(f, schema=0), "schema 0 is not one"),
    "no schema": (lambda f: edit_config(f, schema=None), "no integer 'schema'"),
    "unknown option": (lambda f: edit_config(f, colour="red"), "unknown option 'colour'"),
    "one view": (lambda f: edit_config(f, view_names=["front"]), "config.json: a model needs at least 2 views"),
    "repeated view": (lambda f: edit_config(f, view_names=["a", "a", "b"]), "config.json: view names repeat"),
    "bad size": (lambda f: edit_config(f, autoencoder={"image_size": 63}), "config.json: autoencoder: image_size 63"),
    "views not a list": (lambda f: edit_config(f, view_names="front"), "view_names must be a list"),
    "bad schedule": (lambda f: edit_config(f, beta0=-1.0), "0 < beta0 < beta1"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    "other width": (
        lambda f: edit_config(f, score={"width": 32, "time_dim": 8, "groups": 4}),
        "does not fit",
    ),
    "NaN": (lambda f: edit_tensor(f / SCORE, "input.bias", float("nan")), "input.bias has values that are not finite"),
    "infinity": (lambda f: edit_tensor(f / LATENTS, "mean", float("inf")), "not finite"),
    "infinite in float32": (lambda f: edit_tensor(f / SCORE, "input.bias", 1e300, torch.float64), "not finite"),
    "half NaN": (lambda f: edit_tensor(f / SCORE, "input.bias", float("nan"), torch.float16), "not finite"),
    "bfloat16 infinity": (lambda f: edit_tensor(f / SCORE, "input.bias", math.inf, torch.bfloat16), "not finite"),
    "integers": (lambda f: edit_tensor(f / SCORE, "input.bias", 1, torch.int32), "input.bias has the type I32"),
    "booleans": (lambda f: edit_tensor(f / LATENTS, "std", 1, torch.bool), "std has the type BOOL"),
    "8 bits": (lambda f: edit_tensor(f / SCORE, "input.bias", 1, torch.float8_e5m2), "the type F8_E5M2"),
    "missing tensor": (lambda f: edit_tensors(f / SCORE, lambda t: t.pop("input.bias")), "input.bias is missing"),
    "no mean": (lambda f: edit_tensors(f / LATENTS, lambda t: t.pop("mean")), "mean is missing"),
    "extra tensor": (
        lambda f: edit_tensors(f / SCORE, lambda t: t.update({"a\nb": torch.ones(2)})),
        r"'a\\nb' does not belong there",
    ),
    "another shape": (
        lambda f: edit_tensors(f / LATENTS, lambda t: t.update(mean=torch.ones(5))),
        r"mean is \[5\] instead of \[4\]",
    ),
    "swapped weights": (
        lambda f: edit_tensor_of_a_copy(f),
        "score.safetensors: damaged: not the weights that config.json was written for",
    ),
    "zero std": (lambda f: edit_tensor(f / LATENTS, "std", 0.0), "std must be above 0"),
    "huge std": (lambda f: edit_tensor(f / LATENTS, "std", 3e38), "out of range"),
    "huge mean": (lambda f: edit_tensor(f / LATENTS, "mean", 3.4e38), "out of range"),
    "minute std": (lambda f: edit_tensor(f / LATENTS, "std", 1e-40), "out of range"),
    "missing file": (lambda f: (f / SCORE).unlink(), "cannot be read"),
    "empty file": (lambda f: (f / SCORE).write_bytes(b""), "not a valid safetensors"),
    "a pipe": (lambda f: put(f / SCORE, os.mkfifo), "is not a regular file"),
    "a device": (lambda f: put(f / LATENTS, lambda p: p.symlink_to("/dev/zero")), "is not a regular file"),
    "a folder": (lambda f: put(f / SCORE, Path.mkdir), "is a folder, not a file"),
    "a pipe for a configuration": (lambda f: put(f / "config.json", os.mkfifo), "is not a regular file"),
    "a folder for a configuration": (lambda f: put(f / "config.json", Path.mkdir), "is a folder, not a file"),
    "endless configuration": (lambda f: os.truncate(f / "config.json", JSON_LIMIT + 1), "more than 16777216 bytes"),
    "endless header": (lambda f: (f / SCORE).write_bytes(b"\xff" * 64), "not a valid safetensors"),
    "endless weights": (lambda f: os.truncate(f / SCORE, 1 << 40), "not a valid safetensors"),
    "deep JSON": (lambda f: (f / "config.json").write_text(deep(200_000)), "not valid JSON"),
    "not UTF-8": (lambda f: (f / "config.json").write_bytes(b'{"schema": "\xff"}'), "not valid JSON"),
    "truth as schema": (lambda f: edit_config(f, schema=True), "no integer 'schema'"),
    "a size of 2^63": (lambda f: edit_config(f, score={"width": 2**63}), "width must be at most"),
    "a size of many digits": (lambda f: edit_config(f, beta1=10**400), "beta1 must be float"),
    "sizes that overflow": (
        lambda f: edit_config(f, score={"width": 2**31 - 1, "groups": 1}),
        "no network of these sizes|does not fit",
    ),
    "sizes beyond any memory": (lambda f: edit_config(f, score={"width": 2**22, "groups": 1}), "does not fit"),
    "endless depth": (
        lambda f: edit_config(f, autoencoder={"kind": "grid", "image_size": 16, "base": 8, "depth": 10**9}),
        "depth must be at most",
    ),
    "a kind of before": (
        lambda f: edit_config(f, autoencoder={"kind": "patch", "image_size": 16, "latent_dim": 4, "base": 8}),
        r"config.json: autoencoder: kind 'patch' is of an earlier version, and this one has it no more: train anew",
    ),
    "no steps": (lambda f: edit_config(f, sampling={"steps": 0}), "sampling: steps must be at least 1"),
    "NaN for x0_clip": (lambda f: edit_config(f, sampling={"x0_clip": math.nan}), "x0_clip must not be negative"),
    "no hash of a file": (lambda f: edit_config(f, sha256={SCORE: "0" * 64}), "sha256 must name"),
    "a number for a hash": (lambda f: edit_config(f, sha256=dict.fromkeys(WEIGHT_FILES, 1)), "hexadecimal digits"),
    "truncated": (
        lambda f: (f / "score.safetensors").write_bytes((f / "score.safetensors").read_bytes()[:100]),
        "not a valid safetensors",
    ),
    "pickle": (lambda f: torch.save({"a": torch.ones(1)}, f / SCORE), "is a pickle"),
    "bare pickle": (lambda f: (f / SCORE).write_bytes(pickle.dumps({"a": 1}, protocol=2)), "is a pickle"),
    "newer pickle": (lambda f: (f / SCORE).write_bytes(pickle.dumps({"a": 1}, protocol=4)), "is a pickle"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_in_one_line(folder: Path, damage: str):
    break_it, message = DAMAGES[damage]
    break_it(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder)) and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["config.json", *WEIGHT_FILES])
def test_a_flipped_bit_or_a_missing_end_is_refused_or_changes_no_weight(folder: Path, name: str):
    path, chance = folder / name, random.Random(f"damage {name}")
    whole, untouched = path.read_bytes(), load_checkpoint(folder)
    refused = 0
    for trial in range(120):
        data = bytearray(whole)
        if trial % 3:
            # Half of the flips in the header, which is a small part of the file.
            place = chance.randrange(min(len(data), 400) if trial % 2 else len(data))
            data[place] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            loaded = load_checkpoint(folder)
        except InputError as error:
            refused += 1
            assert str(folder) in str(error) and "\n" not in str(error)
        else:
            assert same_weights(loaded, untouched)
            assert name == "config.json"
    assert refused == 120 or (name == "config.json" and refused >= 40)


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_damage_is_no_traceback_where_no_hash_tells(folder: Path, name: str):
    edit_config(folder, "sha256")
    path, chance = folder / name, random.Random(f"old {name}")
    whole = path.read_bytes()
    for trial in range(80):
        data = bytearray(whole)
        data[chance.randrange(min(len(data), 400) if trial % 2 else len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            load_checkpoint(folder)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
    path.write_bytes(whole)
    load_checkpoint(folder)


SAVE_FOR_EVER = """
import itertools, pathlib, sys
from dimvida.models.checkpoint import load_checkpoint, save_checkpoint
one, other, folder, turns = sys.argv[1:]
versions = itertools.cycle([load_checkpoint(one), load_checkpoint(other)])
for turn, version in enumerate(versions):
    save_checkpoint(folder, version)
    pathlib.Path(turns).write_text(str(turn))
"""


def test_a_kill_while_it_is_replaced_leaves_it_usable(folder: Path, tmp_path: Path):
    turns, chance = tmp_path / "turns", random.Random(0)
    versions = [make_checkpoint(0), make_checkpoint(1)]
    for number, version in enumerate(versions):
        save_checkpoint(tmp_path / f"version{number}", version)
    command = [sys.executable, "-c", SAVE_FOR_EVER, *(tmp_path / name for name in ("version0", "version1"))]
    for _ in range(3):
        turns.unlink(missing_ok=True)
        process = subprocess.Popen([*map(str, command), str(folder), str(turns)])
        try:
            while process.poll() is None and not turns.exists():
                load_checkpoint(folder)  # a reader beside it never meets half a checkpoint
            for _ in range(chance.randrange(6)):
                load_checkpoint(folder)
        finally:
            process.kill()
            process.wait()
        assert turns.exists()
        loaded = load_checkpoint(folder)
        for part in ("autoencoder", "score"):
            state = getattr(loaded, part).state_dict()
            others = [getattr(version, part).state_dict() for version in versions]
            assert any(all(torch.equal(state[name], other[name]) for name in state) for other in others)
