"""The networks give the values of the public MLD implementation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.errors import InputError
from dimvida.models.interop import mld_autoencoder, mld_score_network
from dimvida.sampling import sample

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
VIEWS, LATENT_DIM, GROUPS = 4, 16, 8


def read(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(REFERENCE / name, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def relative_error(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).abs().max() / reference.abs().max())


@pytest.fixture(scope="module")
def score() -> dict[str, Tensor]:
    return read("mld_score.safetensors")[0]


@pytest.fixture(scope="module")
def network(score: dict[str, Tensor]):
    weights = {name.removeprefix("weights."): t for name, t in score.items() if name.startswith("weights.")}
    return mld_score_network(weights, VIEWS, GROUPS)


@torch.no_grad()
def test_raw_output_and_score(score, network):
    out = network(score["x"].view(-1, VIEWS, LATENT_DIM), score["tau"]).flatten(1)
    assert relative_error(out, score["raw_output"]) < 1e-5
    assert relative_error(out / VPSchedule().sigma(score["t"]), score["score"]) < 1e-5


def test_marginals(score):
    schedule = VPSchedule()
    assert relative_error(schedule.mean(score["marg_t"]), score["marg_mean"]) < 1e-5
    assert relative_error(schedule.sigma(score["marg_t"].double()), score["marg_std"]) < 1e-5


def masked_euler_maruyama(score, network, **options) -> Tensor:
    """[B, V D], from the recorded noise."""
    shape = (-1, VIEWS, LATENT_DIM)
    known, noise = score["em_mask_known"].bool(), score["em_noise"]
    start = score["em_init"].view(shape)
    noise = noise.view(len(noise), *shape)
    final = sample(network, start, known, steps=len(noise), noise=noise, **options)
    assert torch.equal(final[known], start[known])
    return final.flatten(1)


@pytest.mark.parametrize("backend", ["eager", "fused", "auto"])
def test_masked_euler_maruyama_in_float32(score, network, backend):
    final = masked_euler_maruyama(score, network, backend=backend, dtype=torch.float32)
    assert relative_error(final, score["em_final"]) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_masked_euler_maruyama_in_a_low_precision(score, network, dtype):
    final = masked_euler_maruyama(score, network, dtype=dtype)
    assert 1e-5 < relative_error(final, score["em_final"]) < torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_default_is_the_dtype_that_the_hardware_is_said_to_have(score, network, dtype, monkeypatch):
    monkeypatch.delenv("DIMVIDA_DTYPE", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: dtype == torch.bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    final = masked_euler_maruyama(score, network, backend="auto")
    assert torch.equal(final, masked_euler_maruyama(score, network, dtype=dtype))


def rule_weights(parameters: str, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in sorted(json.loads(parameters)):
        if len(shape) > 1:
            tensor = torch.randn(shape, generator=generator)
            weights[name] = tensor / tensor[0].numel() ** 0.5
        else:
            weights[name] = 0.1 * torch.randn(shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                weights[name] += 1
    return weights


@torch.no_grad()
def test_autoencoder():
    tensors, metadata = read("mld_autoencoder.safetensors")
    encoder = rule_weights(metadata["encoder_params"], int(metadata["encoder_seed"]))
    decoder = rule_weights(metadata["decoder_params"], int(metadata["decoder_seed"]))
    autoencoder = mld_autoencoder(encoder, decoder)
    latent = autoencoder.encode(tensors["image"])
    assert relative_error(latent, tensors["latent"]) < 1e-5
    assert relative_error(autoencoder.decode(tensors["latent"]), tensors["reconstruction"]) < 1e-5


def test_foreign_weights_are_refused(score):
    weights = {name.removeprefix("weights."): t for name, t in score.items() if name.startswith("weights.")}
    with pytest.raises(InputError, match=r"unknown name 'conv1\.weight'"):
        mld_score_network({**weights, "conv1.weight": torch.zeros(1)}, VIEWS, GROUPS)
    del weights["mid_block1.block1.proj.weight"]
    with pytest.raises(InputError, match=r"mid_blocks\.0\.linear1\.weight"):
        mld_score_network(weights, VIEWS, GROUPS)
    with pytest.raises(InputError, match="not a public MLD image autoencoder"):
        mld_autoencoder({}, {})


def test_foreign_weights_that_do_not_fit_are_refused(score):
    weights = {k.removeprefix("weights."): v for k, v in score.items() if k.startswith("weights.")}
    with pytest.raises(InputError, match="are not those of 7 views"):
        mld_score_network(weights, 7, GROUPS)
    with pytest.raises(InputError, match="not a multiple of groups 5"):
        mld_score_network(weights, VIEWS, 5)
    with pytest.raises(InputError, match="no matrices"):
        mld_score_network({**weights, "init_lin.weight": torch.zeros(3)}, VIEWS, GROUPS)
    broken = {**weights, "init_lin.bias": torch.full_like(weights["init_lin.bias"], torch.inf)}
    with pytest.raises(InputError, match=r"input\.bias has values that are not finite"):
        mld_score_network(broken, VIEWS, GROUPS)
