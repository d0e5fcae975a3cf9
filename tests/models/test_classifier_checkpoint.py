"""A classifier's folder: it gives back what was written, and damage is refused in one line."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from helpers.objects import Trap

from dimvida.errors import InputError
from dimvida.files import sha256_file
from dimvida.models.classifier_checkpoint import load_classifier, read_description, save_classifier

from .conftest import random_images, small_classifier


def test_round_trip(tmp_path: Path):
    classifier = small_classifier()
    classifier.network.features[0][1].running_mean.fill_(0.5)  # statistics are weights too
    save_classifier(tmp_path / "run" / "classifier", classifier, {"steps": 7})
    for folder in (tmp_path / "run", tmp_path / "run" / "classifier"):
        loaded = load_classifier(folder)
        assert loaded.config == classifier.config
        assert not loaded.training
        assert torch.equal(loaded(random_images()), classifier(random_images()))
    assert read_description(tmp_path / "run" / "classifier")["provenance"] == {"steps": 7}
    names = sorted(path.name for path in (tmp_path / "run" / "classifier").iterdir())
    assert names == ["classifier.json", "classifier.safetensors"]


def test_loading_draws_nothing(tmp_path: Path):
    save_classifier(tmp_path, small_classifier(), {})
    before = torch.random.get_rng_state()
    load_classifier(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def edit(folder: Path, **values: object) -> None:
    description = json.loads((folder / "classifier.json").read_text())
    description.update(values)
    (folder / "classifier.json").write_text(json.dumps(description))


def test_damage_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="no classifier there"):
        load_classifier(tmp_path)
    save_classifier(tmp_path, small_classifier(), {})
    description = (tmp_path / "classifier.json").read_text()
    config = json.loads(description)["config"]
    for values, message in [
        ({"schema": 2}, "schema 2"),
        ({"sha256": "0" * 64}, "damaged"),
        ({"config": None}, "expected a table of options"),
        ({"config": {**config, "name": "vgg"}}, "choose from resnet18"),
        ({"config": {**config, "classes": [1, 2]}}, "classes must be a list of names"),
        ({"config": {**config, "mean": ["a", "b", "c"]}}, "mean must be a list of numbers"),
        ({"config": {**config, "classes": ["a", "b"]}}, "does not fit classifier.json"),
    ]:
        edit(tmp_path, **values)
        with pytest.raises(InputError, match=message):
            load_classifier(tmp_path)
        (tmp_path / "classifier.json").write_text(description)
    (tmp_path / "classifier.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_classifier(tmp_path)


def test_a_pickle_in_a_classifiers_folder_is_not_loaded(tmp_path: Path):
    save_classifier(tmp_path, small_classifier(), {})
    (tmp_path / "classifier.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    edit(tmp_path, sha256=sha256_file(tmp_path / "classifier.safetensors"))
    with pytest.raises(InputError, match="is a pickle"):
        load_classifier(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_half_written_is_not_taken_for_whole(tmp_path: Path):
    save_classifier(tmp_path, small_classifier(), {})
    (tmp_path / "classifier.json").unlink()
    with pytest.raises(InputError, match="no classifier there"):
        load_classifier(tmp_path)


def test_a_flipped_bit_or_a_missing_end_of_the_weights_is_refused(tmp_path: Path):
    save_classifier(tmp_path, small_classifier(), {})
    path, chance = tmp_path / "classifier.safetensors", random.Random(0)
    whole = path.read_bytes()
    for trial in range(12):
        data = bytearray(whole)
        if trial % 3:
            data[chance.randrange(400 if trial % 2 else len(data))] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            load_classifier(tmp_path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path):
    save_classifier(tmp_path, small_classifier(), {})
    for name in ("classifier.safetensors", "classifier.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=f"{name}: is not a regular file"):
            load_classifier(tmp_path)
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(content)
    load_classifier(tmp_path)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"std": [1.0, 1.0, math.inf]}, "mean and std need three finite values"),
        ({"input_size": 2**40}, "input_size must be between 0 and"),
    ],
)
def test_a_configuration_out_of_range_is_refused(tmp_path: Path, config: dict, message: str):
    save_classifier(tmp_path, small_classifier(), {})
    old = json.loads((tmp_path / "classifier.json").read_text())["config"]
    edit(tmp_path, config={**old, **config})
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path)
