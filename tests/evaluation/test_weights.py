"""Weights from files and from servers that do what servers do."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.servers import Answering, serving

from dimvida.errors import InputError
from dimvida.evaluation import weights
from dimvida.evaluation.weights import INCEPTION, SQUEEZENET, PublishedWeights, Unavailable, obtain_weights

STATE = {"layer.weight": torch.arange(6.0).view(2, 3)}


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


FILE = saved(STATE)
DIGITS = hashlib.sha256(FILE).hexdigest()[:8]


class Weights(Answering):
    """Answers by the path's first part."""

    released: threading.Event

    def do_GET(self) -> None:
        way = self.path.split("/")[1]
        if way == "silent":
            self.released.wait(60)
            return
        body = {"whole": FILE, "cut": FILE[:100], "other": FILE[::-1]}.get(way)
        if body is None:
            self.answer(404, b"")
        else:
            self.answer(200, body, {"Content-Length": str(len(FILE))})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], PublishedWeights]]:
    """Weights as a local server gives them in some way, and an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(Weights, "released", threading.Event(), raising=False)
    with serving(Weights) as address:
        yield lambda way: PublishedWeights("--some-weights", f"{address}/{way}/net-{DIGITS}.pth")
        Weights.released.set()


def cached(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_download_is_kept(server, tmp_path: Path, capsys):
    state = obtain_weights(server("whole"), None)
    assert state["layer.weight"].equal(STATE["layer.weight"])
    assert cached(tmp_path) == [f"net-{DIGITS}.pth"]
    assert "downloading http://127.0.0.1" in capsys.readouterr().err
    # From then on no server is asked.
    assert obtain_weights(server("missing"), None)["layer.weight"].equal(STATE["layer.weight"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("way", "reason"), [("missing", "404"), ("cut", ""), ("other", "SHA-256 differs"), ("silent", "timed out")]
)
def test_downloads_that_fail(server, tmp_path: Path, way: str, reason: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "TIMEOUT", 0.3)
    published = server(way)
    with pytest.raises(Unavailable) as error:
        obtain_weights(published, None)
    message = str(error.value)
    assert reason in message and published.url in message and "--some-weights" in message
    assert not re.search(r"Errno|Error|<", message)
    assert cached(tmp_path) == []


def test_weights_that_no_option_takes_are_put_where_they_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    published = PublishedWeights(None, f"http://127.0.0.1:9/net-{DIGITS}.pth")
    with pytest.raises(Unavailable, match=rf"fetch {published.url} and put it to .*net-{DIGITS}\.pth"):
        obtain_weights(published, None)


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match=r"could not be downloaded .*refused"):
        obtain_weights(PublishedWeights("--some-weights", f"http://127.0.0.1:9/net-{DIGITS}.pth"), None)


def test_a_name_that_nobody_has_is_told_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Unavailable, match=r"\(its server's name is not found; is this machine online\?\)"):
        obtain_weights(PublishedWeights("--some-weights", f"http://nowhere.invalid/net-{DIGITS}.pth"), None)


def test_a_cache_that_cannot_be_made_is_named(server, tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(Unavailable, match=r"\(\S*cache\S*: (not a directory|file exists)\)"):
        obtain_weights(server("whole"), None)


def test_a_given_file_is_read_and_nothing_is_downloaded(server, tmp_path: Path):
    (tmp_path / "mine.pth").write_bytes(FILE)
    state = obtain_weights(server("missing"), tmp_path / "mine.pth")
    assert state["layer.weight"].equal(STATE["layer.weight"])


class Surprise:
    """Unpickling it runs code."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("surprise"),)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a file of weights"),
        (b"PK\x03\x04 but no archive", "not a file of weights"),
        (FILE[:-50], "not a file of weights"),
        (pickle.dumps(Surprise()), "not a file of weights"),
        (saved({"weights": Surprise()}), "not a file of weights"),
        (saved(torch.zeros(3)), "no named tensors"),
        (saved({"state_dict": STATE}), "no named tensors"),
        (saved({}), "no named tensors"),
    ],
    ids=["empty", "no zip", "cut", "pickle", "code", "tensor", "nested", "nothing"],
)
def test_files_that_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str):
    monkeypatch.chdir(tmp_path)
    Path("file.pth").write_bytes(content)
    with pytest.raises(InputError, match=reason) as error:
        obtain_weights(SQUEEZENET, Path("file.pth"))
    assert str(error.value).startswith("--lpips-weights file.pth: ")
    assert not Path("surprise").exists()


def test_a_file_that_is_not_there():
    with pytest.raises(InputError, match=r"--inception-weights nowhere\.pth: cannot be read"):
        obtain_weights(INCEPTION, Path("nowhere.pth"))


def test_a_damaged_cache_is_named(server, tmp_path: Path):
    published = server("missing")
    published.cached.parent.mkdir(parents=True)
    published.cached.write_bytes(b"damaged")
    with pytest.raises(Unavailable, match=f"net-{DIGITS}.pth: .*delete it"):
        obtain_weights(published, None)


def test_the_addresses_are_those_of_the_packages():
    from torchvision.models import SqueezeNet1_1_Weights

    assert SQUEEZENET.url == SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    assert INCEPTION.url == inception.URL_INCEPTION_V3


def test_what_is_no_file_or_not_finite_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match=r"--lpips-weights .*pipe.pth: is not a regular file"):
        obtain_weights(SQUEEZENET, tmp_path / "pipe.pth")
    (tmp_path / "nan.pth").write_bytes(saved({"layer.weight": torch.tensor([1.0, float("nan")])}))
    with pytest.raises(InputError, match=r"--lpips-weights .*nan.pth: layer.weight has values that are not finite"):
        obtain_weights(SQUEEZENET, tmp_path / "nan.pth")
