"""What is left open is filled, and what cannot be is refused."""

from __future__ import annotations

import pytest
import torch

from dimvida.errors import InputError
from dimvida.generation.formats import NAMES
from dimvida.generation.settings import GenerationSettings, resolve_settings
from dimvida.sampling.backends import default_dtype
from dimvida.sampling.multiview import MultiViewModel


class TestSettings:
    def test_what_is_open_comes_from_the_checkpoint(self, model: MultiViewModel):
        assert resolve_settings(model) == GenerationSettings(
            steps=4,
            solver="sde-dpmpp-2m",
            seed=0,
            batch=256,
            backend="fused",
            device="cpu",
            dtype=str(default_dtype(torch.device("cpu"))).removeprefix("torch."),
            include_known=False,
            format="imagefolder",
            image_format="png",
            quality=None,
            shard_size=1024,
        )
        eager = resolve_settings(model, backend="eager")
        assert (eager.backend, eager.dtype, eager.torch_dtype) == ("eager", "float32", torch.float32)
        assert resolve_settings(model, dtype="float16").torch_dtype == torch.float16

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"solver": "nope"}, "unknown solver 'nope'"),
            ({"steps": 0}, "steps must be at least 1"),
            ({"seed": -1}, "--seed -1"),
            ({"seed": 2**63}, "--seed"),
            ({"batch": 0}, "--batch 0"),
            ({"backend": "nope"}, "unknown backend 'nope'"),
            ({"dtype": "float64"}, "unknown dtype 'float64'"),
            ({"format": "zip"}, f"--format zip: choose from {', '.join(NAMES)}"),
            ({"image_format": "gif"}, "--image-format gif: choose from png, jpeg, webp"),
            ({"quality": 80}, "--quality 80: PNG has none"),
            ({"image_format": "jpeg", "quality": 0}, "--quality 0: must be between 1 and 100"),
            ({"format": "npy", "image_format": "png"}, "--format npy: holds pixels"),
            ({"shard_size": 0}, "--shard-size 0"),
            ({"backend": "eager", "dtype": "bfloat16"}, "computes in float32, not bfloat16"),
        ],
    )
    def test_what_cannot_be_is_refused(self, model: MultiViewModel, options, message):
        with pytest.raises(InputError, match=message):
            resolve_settings(model, **options)
