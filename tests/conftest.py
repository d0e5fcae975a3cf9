"""Fixtures that several test folders share."""

from __future__ import annotations

import functools
import random
import signal
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers.objects import SIZE, VIEWS, Maker
from hypothesis import register_random, settings
from PIL import Image

from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource

if TYPE_CHECKING:
    from dimvida.sampling.multiview import MultiViewModel

# A busy machine makes single examples slow, which says nothing about the code; a failure is one of every run.
settings.register_profile("dimvida", deadline=None, derandomize=True)
settings.load_profile("dimvida")


def pytest_configure() -> None:
    """Tests of signals need them not ignored, as they are where a script starts the suite in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


class TorchRandom:
    """torch's numbers as hypothesis sets them before each example."""

    registered: TorchRandom | None = None  # hypothesis keeps no reference

    @staticmethod
    def seed(number: int) -> None:
        sys.modules["torch"].manual_seed(number)

    @staticmethod
    def getstate() -> object:
        return sys.modules["torch"].get_rng_state()

    @staticmethod
    def setstate(state: object) -> None:
        sys.modules["torch"].set_rng_state(state)


def seed_all(name: str) -> None:
    """Let everything random that follows depend on a name, not on what ran before or on the time."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
        if TorchRandom.registered is None:
            TorchRandom.registered = TorchRandom()
            register_random(TorchRandom.registered)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> None:
    seed_all(f"{request.node.nodeid} {fixturedef.argname} {request.param_index}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    seed_all(item.nodeid)


@pytest.fixture(scope="session")
def modelnet_zip() -> Path:
    """The ModelNet10 views, real data in the folder form; too large for the repository."""
    path = Path(__file__).parents[2] / "shared" / "data" / "modelnet10_views.zip"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def make() -> Maker:
    """Builds images and small data sets."""
    return Maker()


@pytest.fixture
def source(make: Maker, tmp_path: Path) -> MultiViewSource:
    """36 objects in two splits: of one a view is absent, of others one is no image, of another size, or gray."""
    files = make.multi_view({"chair": 30, "table": 2}, "train") | make.multi_view({"chair": 4}, "test", start=32)
    del files["train/chair/chair_0001/right.png"]
    files["train/chair/chair_0002/left.png"] = b"no image"
    files["train/chair/chair_0003/left.png"] = make.png(0, 4, 6)
    files["train/chair/chair_0004/left.png"] = make.encode(make.pixels()[..., 0])
    return open_source(make.folder(tmp_path / "set", files))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks are faster in one thread, and much faster so on a busy machine.

    Of a whole module, so that what its fixtures make is made in one thread too: last bits depend on it.
    """
    from dimvida.bench.machine import torch_threads

    with torch_threads(1):
        yield


@pytest.fixture
def light_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings draw no curves and count the operations of each configuration once: half of what a short one takes.

    Those of fixtures for a whole module or session come before, and are as ever.
    """
    from dimvida.training import costs, outputs

    monkeypatch.setattr(outputs, "plot_curves", lambda path, curves: None)
    monkeypatch.setattr(costs, "step_costs", _counted_once(costs.step_costs))


@functools.cache
def _counted_once(step_costs: Callable) -> Callable:
    return functools.cache(step_costs)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Downloads fail at once, whatever machine this is, and nothing was downloaded before."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of four views with random weights: everything works, the pictures mean nothing."""
    import torch

    from dimvida.models import AutoencoderConfig, ScoreConfig
    from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, SamplingDefaults, save_checkpoint

    config = CheckpointConfig(
        view_names=VIEWS,
        classes=(),
        autoencoder=AutoencoderConfig(image_size=SIZE, latent_dim=8, base=8),
        score=ScoreConfig(width=32, time_dim=16, groups=8),
        sampling=SamplingDefaults(solver="sde-dpmpp-2m", steps=4, x0_clip=4.0),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder, score = config.build()
        torch.nn.init.normal_(score.output.weight, std=0.05)
    # Latents of a wide spread, so that different latents decode to visibly different pictures.
    checkpoint = Checkpoint(config, autoencoder, score, torch.zeros(8), torch.full((8,), 20.0))
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    save_checkpoint(folder, checkpoint)
    return folder


@pytest.fixture(scope="session")
def camera_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a transformer on grids that is conditioned on cameras: four views a quarter turn apart."""
    import torch
    from helpers.networks import randomised

    from dimvida.models import GridAutoencoderConfig, TransformerConfig
    from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, SamplingDefaults, save_checkpoint

    config = CheckpointConfig(
        view_names=VIEWS,
        classes=(),
        autoencoder=GridAutoencoderConfig(image_size=SIZE, latent_channels=2, base=8),
        score=TransformerConfig(width=16, depth=2, heads=2, patch=1, mlp_ratio=2, time_dim=8),
        sampling=SamplingDefaults(solver="sde-dpmpp-2m", steps=3, x0_clip=4.0),
        cameras=((0.0, 30.0), (-90.0, 30.0), (-180.0, 30.0), (-270.0, 30.0)),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder, score = config.build()
    dim = config.autoencoder.latent_dim
    checkpoint = Checkpoint(config, autoencoder, randomised(score), torch.zeros(dim), torch.full((dim,), 20.0))
    folder = tmp_path_factory.mktemp("cameras") / "checkpoint"
    save_checkpoint(folder, checkpoint)
    return folder


@pytest.fixture(scope="session")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with torch-fidelity's names, scaled so that pictures give different features; skips without it."""
    import torch

    package = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Untrained(package.FeatureExtractorInceptionV3):
        def load_state_dict(self, *arguments: object, **options: object) -> None:
            """Stay as it was made."""

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.manual_seed(0)
    torch.save({}, path)
    network = Untrained("inception-v3-compat", ["2048"], str(path))
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> MultiViewModel:
    """The tiny checkpoint, loaded."""
    from dimvida.sampling.multiview import load

    return load(tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_image() -> Callable[..., Image.Image]:
    """Makes a picture that the tiny checkpoint takes as it is, a different one for each number."""

    def make(number: int = 0, size: int = SIZE) -> Image.Image:
        return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8))

    return make


@pytest.fixture(scope="session")
def write_fronts(tiny_image: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Writes views of N objects of one class: ``write(root, 24)`` gives root/chair/00__front.png, ...; returns root."""

    def write(root: Path, count: int, *, class_name: str = "chair", unreadable: Collection[int] = ()) -> Path:
        (root / class_name).mkdir(parents=True)
        for number in range(count):
            path = root / class_name / f"{number:02d}__front.png"
            tiny_image(number).save(path)
            if number in unreadable:
                path.write_bytes(b"not an image")
        return root

    return write


@pytest.fixture(scope="session")
def write_objects(tiny_image: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Writes multi-view data: ``write(root, {"chair/a": ("front", "left"), ...})`` gives root/chair/a/front.png, ..."""

    def write(root: Path, objects: dict[str, tuple[str, ...]]) -> Path:
        number = 0
        for name, views in objects.items():
            (root / name).mkdir(parents=True)
            for view in views:
                tiny_image(number).save(root / name / f"{view}.png")
                number += 1
        return root

    return write
