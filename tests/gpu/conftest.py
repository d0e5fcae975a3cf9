"""What needs a GPU: collected everywhere, skipped where there is none.

``tests/ops`` runs every op on every device already; here is what only a GPU has: streams, graphs, several devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from dimvida import ops
from dimvida.cli.options import set_float32_precision
from dimvida.models import ScoreNetwork


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/gpu" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(params=[0, 1], ids=["first device", "second device"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each of the first two GPUs; torch's current device stays the first."""
    if torch.cuda.device_count() <= request.param:
        pytest.skip("no such GPU here")
    return torch.device("cuda", request.param)


@pytest.fixture(autouse=True)
def native_kernels_on_a_gpu() -> None:
    """For every test of this folder: without its kernels a GPU would get the reference, and all would pass."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert ops.native_available("cuda"), "built without CUDA kernels: DIMVIDA_CUDA=on pip install ."


@pytest.fixture(autouse=True)
def float32_of_the_command_line(native_kernels_on_a_gpu: None) -> Iterator[None]:
    """The arithmetic of ``dimvida generate``: exact products, convolutions in TF32."""
    with _precisions():
        set_float32_precision()
        yield


@pytest.fixture
def exact_float32(float32_of_the_command_line: None) -> Iterator[None]:
    """For tests that compare a formula of convolutions between devices."""
    with _precisions():
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        yield


@contextmanager
def _precisions() -> Iterator[None]:
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [kind.fp32_precision for kind in kinds]
    try:
        yield
    finally:
        for kind, value in zip(kinds, before, strict=True):
            kind.fp32_precision = value


def random_network(
    views: int = 4, dim: int = 6, width: int = 32, groups: int = 4, *, std: float = 0.05, seed: int = 0
) -> ScoreNetwork:
    """On the CPU, with a last layer that is not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ScoreNetwork(views, dim, width=width, time_dim=16, groups=groups)
        torch.nn.init.normal_(network.output.weight, std=std)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def make_network():
    return random_network


@pytest.fixture(scope="session")
def make_inputs():
    """Random latents [B, V, D] and known views [B, V], on the CPU."""

    def make(batch: int, views: int = 4, dim: int = 6, *, known: float = 0.4, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(batch, views, dim, generator=generator)
        return latents, torch.rand(batch, views, generator=generator) < known

    return make


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
