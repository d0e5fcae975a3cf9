"""Models on the Hub: from its cache, from a server that answers as it does, and what goes wrong on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from helpers.servers import Hub, hub_server

from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, load_checkpoint, save_checkpoint
from dimvida.models.config import AutoencoderConfig, ScoreConfig
from dimvida.models.hub import model_card

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = Hub.commit
NAME = "someone/a-model"
CONFIG = CheckpointConfig(
    view_names=("front", "a`b\n# c"),
    classes=("<script>alert(1)</script>",),
    autoencoder=AutoencoderConfig(image_size=16, latent_dim=4, base=8),
    score=ScoreConfig(width=16, time_dim=8, groups=4),
    provenance={"data": {"objects": 1234}},
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small checkpoint."""
    folder = tmp_path_factory.mktemp("model")
    autoencoder, score = CONFIG.build()
    save_checkpoint(folder, Checkpoint(CONFIG, autoencoder, score, torch.zeros(4), torch.ones(4)))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hub, empty, and the only one."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A Hub with one model, and files beside it that are not the model's."""
    with hub_server(monkeypatch, saved, NAME) as hub:
        hub.files |= {"evil.pkl": b"\x80", "x.py": b"1"}
        yield hub


def lay_out(cache: Path, saved: Path) -> None:
    """A checkpoint as the cache of the Hub keeps one: blobs, links to them, and what a branch is."""
    folder = cache / "models--someone--a-model"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    for path in saved.iterdir():
        blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)


@pytest.mark.parametrize("address", [f"hf://{NAME}", f"hf://{NAME}@main", f"hf://{NAME}@{COMMIT}"])
def test_a_snapshot_in_the_cache_serves_offline(
    address: str, cache: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    lay_out(cache, saved)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_checkpoint(address).digest == load_checkpoint(saved).digest


def test_a_snapshot_in_the_cache_serves_where_there_is_no_network(
    cache: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    lay_out(cache, saved)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")  # nobody listens there
    assert load_checkpoint(f"hf://{NAME}").digest == load_checkpoint(saved).digest


def test_a_model_is_fetched_once_and_nothing_but_its_files(hub: type[Hub], cache: Path, saved: Path):
    assert load_checkpoint(f"hf://{NAME}@v1").digest == load_checkpoint(saved).digest
    (snapshot,) = cache.glob("*/snapshots/*")
    assert sorted(path.name for path in snapshot.iterdir()) == sorted(path.name for path in saved.iterdir())
    hub.asked.clear()
    assert load_checkpoint(f"hf://{NAME}@v1").digest == load_checkpoint(saved).digest
    assert not [path for path in hub.asked if path.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://nobody/nothing", "the Hub has no such model, or does not show it to you"),
        (f"hf://{NAME}@v2", f"{NAME} has no revision 'v2'"),
        (f"hf://{NAME}@../x", f"{NAME} has no revision"),
        ("hf://alone", "no address of a model; one is hf://owner/name, or hf://owner/name@revision"),
        (f"hf://{NAME}@", "no address of a model"),
        (f"hf://{NAME}/checkpoint", "no address of a model"),
        ("hf://../..", "no address of a model"),
        ("hf://some one/model", "no address of a model"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(hub: type[Hub], address: str, said: str):
    assert refusal(address).startswith(f"{address}: {said}")


@pytest.mark.parametrize("url", ["memory://model", "s3://bucket/model", "https://host/model", "file:///model"])
def test_models_are_behind_no_other_urls(url: str):
    """Which are shown as they were, not as paths, that lose a slash."""
    told = f"checkpoint {url}: models are read from folders, and from hf://owner/name"
    assert refusal(url) == told == refusal(Path(url))
    assert refusal(url.replace("://", "://user:secret@")) == told


def test_a_repository_of_something_else(hub: type[Hub]):
    hub.files = {"pytorch_model.bin": b"\x80\x04"}
    assert refusal(f"hf://{NAME}") == f"hf://{NAME}: not a model of dimvida: it has no config.json"
    assert not [path for path in hub.asked if path.endswith(".bin")]


def test_another_library_s_configuration(hub: type[Hub]):
    hub.files = {"config.json": b'{"model_type": "bert"}'}
    assert "not a checkpoint configuration" in refusal(f"hf://{NAME}")


def test_damaged_weights_are_noticed(hub: type[Hub]):
    data = hub.files["score.safetensors"]
    hub.files = hub.files | {"score.safetensors": data[:-1] + bytes([data[-1] ^ 1])}
    assert "score.safetensors: damaged" in refusal(f"hf://{NAME}")


def test_nothing_in_the_cache_offline(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = refusal(f"hf://{NAME}")
    assert line == f"hf://{NAME}: HF_HUB_OFFLINE is set, and {cache} holds no whole copy of {NAME} at 'main'"


def test_no_network_and_nothing_in_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    line = refusal(f"hf://{NAME}")
    assert line.startswith(f"hf://{NAME}: the Hub cannot be reached (") and line.endswith(f"of {NAME} at 'main'")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refusal(f"hf://{NAME}") == f"hf://{NAME}: huggingface_hub is not installed; pip install 'dimvida[hub]'"


def refusal(address: str) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(address)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_card_is_yaml_and_markdown_and_names_command_neither():
    card = model_card(CONFIG)
    assert card == model_card(CONFIG)
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "dimvida",
        "pipeline_tag": "image-to-image",
        "tags": ["multi-view", "data-augmentation", "diffusion"],
    }
    assert "`front`, `a'b # c` (16 x 16 pixels, RGB)" in text and "Trained on 1,234 objects" in text
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", text)
    assert re.findall(r"^#.*$", text, re.MULTILINE) == ["# A multi-view model for dimvida"]


def test_the_card_says_how_a_stage_was_trained_if_its_provenance_does():
    account = {"steps": 25010, "batch": 64, "optimizer": "muon", "lr": 1e-3, "lr_schedule": "cooldown"}
    config = dataclasses.replace(CONFIG, provenance={"autoencoder": {"steps": 5}, "diffusion": account})
    text = model_card(config)
    assert "Training of the diffusion: 25,010 steps of 64 with `muon`, learning rate `cooldown`." in text
    assert "Training of the autoencoder" not in text
