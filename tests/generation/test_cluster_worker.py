"""What a worker of a cluster says that cannot do its work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

from dimvida.errors import InputError
from dimvida.generation.cluster_worker import resolve


def test_a_gpu_that_pytorch_cannot_use():
    def to(device: str) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    with pytest.raises(InputError, match=r"cannot use the GPU .* \(Torch not compiled .*\); give --cpus-per-worker N"):
        resolve(SimpleNamespace(to=to), "cuda", {}, lambda model, settings: 1)
