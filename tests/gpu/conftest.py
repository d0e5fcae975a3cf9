"""What needs a GPU: collected everywhere, skipped where there is none.

``tests/ops`` runs every op on every device already; here is what only a GPU has: streams, graphs, several devices.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dimvida import ops
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
def exact_float32(native_kernels_on_a_gpu: None) -> Iterator[None]:
    """Products and convolutions in float32 are not rounded to TF32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


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
