"""MultiViewModel: images in, images out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

import dimvida
from dimvida.errors import InputError
from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, load_checkpoint
from dimvida.models.config import AnyAutoencoderConfig, GridAutoencoderConfig
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor


def pictures(rows: int, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, 4, 3, size, size), generator=generator, dtype=torch.uint8)


def masks(rows: int) -> Tensor:
    """Row r knows the views whose bit is set in r, so all sixteen sets occur, also none and all."""
    return (torch.arange(rows)[:, None] >> torch.arange(4)) & 1 == 1


def test_known_views_come_back_bit_for_bit(model: MultiViewModel):
    views, known = pictures(16), masks(16)
    before = views.clone()
    out = model.generate(views, known, seed=5)
    assert out.shape == views.shape and out.dtype == torch.uint8
    assert torch.equal(out[known], views[known])
    assert not torch.equal(out[~known], views[~known])
    assert torch.equal(views, before)


def test_mixed_masks_in_one_batch_equal_each_row_alone(model: MultiViewModel):
    views, known = pictures(16), masks(16)
    ids = sample_id_tensor(f"object {row}" for row in range(16))
    together = model.generate(views, known, seed=5, sample_ids=ids)
    for row in range(16):
        one = slice(row, row + 1)
        alone = model.generate(views[one], known[one], seed=5, sample_ids=ids[one])
        assert int((alone.int() - together[one].int()).abs().max()) <= 1


def test_pixels_of_missing_views_are_not_looked_at(model: MultiViewModel):
    views, known = pictures(6), masks(6)
    blanked = torch.where(known[:, :, None, None, None], views, 0).to(torch.uint8)
    out = model.generate(views, known)
    assert torch.equal(model.generate(blanked, known)[~known], out[~known])


def test_encode_standardises_and_decode_undoes_it(model: MultiViewModel):
    images = pictures(3)
    latents = model.encode(images)
    assert latents.shape == (3, 4, 8)
    torch.testing.assert_close(model.encode(images.float() / 255), latents)
    raw = model.autoencoder.encode(images.flatten(0, 1).float() / 255)
    torch.testing.assert_close(latents.flatten(0, 1), (raw - model.latent_mean) / model.latent_std)
    decoded = model.decode(latents)
    assert decoded.shape == images.shape and decoded.min() >= 0 and decoded.max() <= 1
    torch.testing.assert_close(decoded.flatten(0, 1), model.autoencoder.decode(raw).clamp(0, 1))


@pytest.mark.parametrize(
    "sizes",
    [
        AutoencoderConfig(image_size=16, latent_dim=8, base=8),
        GridAutoencoderConfig(image_size=16, latent_channels=2, base=8),
    ],
    ids=lambda sizes: sizes.kind,
)
@pytest.mark.parametrize("leading", [(), (1,), (2, 3), (0,), (2, 0, 4)])
def test_encode_and_decode_keep_any_leading_dimensions(sizes: AnyAutoencoderConfig, leading: tuple[int, ...]):
    config = CheckpointConfig(("front", "back"), (), sizes, ScoreConfig(32, 16, 8))
    model = MultiViewModel(Checkpoint(config, *config.build(), torch.zeros(8), torch.ones(8)))
    images = torch.randint(0, 256, (*leading, 3, 16, 16), dtype=torch.uint8)
    latents = model.encode(images)
    assert latents.shape == (*leading, 8)
    decoded = model.decode(latents)
    assert decoded.shape == images.shape
    if leading == (2, 3):
        torch.testing.assert_close(model.encode(images[1, 2]), latents[1, 2])
        torch.testing.assert_close(model.decode(latents[1, 2]), decoded[1, 2])


def test_images_and_latents_that_do_not_fit(model: MultiViewModel):
    image = pictures(1)[0, 0]
    for images in (image[0], image[:2], image[:, :8], image.long(), image[None, :, :, :8]):
        with pytest.raises(ValueError, match=r"images must be uint8 or float \[\.\.\., 3, 16, 16\]"):
            model.encode(images)
    for latents in (torch.zeros(7), torch.zeros(8, 1), torch.zeros(8, dtype=torch.int64), torch.tensor(0.0)):
        with pytest.raises(ValueError, match=r"latents must be float \[\.\.\., 8\]"):
            model.decode(latents)


def test_defaults_are_the_checkpoints(model: MultiViewModel):
    views, known = pictures(2), masks(2)
    defaults = model.config.sampling
    named = model.generate(views, known, solver=defaults.solver, steps=defaults.steps)
    assert torch.equal(model.generate(views, known), named)
    assert not torch.equal(model.generate(views, known, steps=defaults.steps + 1), named)


def test_an_untrained_score_network_is_refused(tiny_checkpoint: Path):
    checkpoint = load_checkpoint(tiny_checkpoint)
    torch.nn.init.zeros_(checkpoint.score.output.weight)
    model = MultiViewModel(checkpoint)
    assert model.encode(pictures(1)).shape == (1, 4, 8)
    with pytest.raises(InputError, match="score network of this checkpoint is untrained"):
        model.generate(pictures(1), masks(1))
    trained = load_checkpoint(tiny_checkpoint)
    model.score.load_state_dict(trained.score.state_dict())
    assert torch.equal(model.generate(pictures(1), masks(1)), dimvida.load(tiny_checkpoint)(pictures(1), masks(1)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("solver", "", "unknown solver ''"), ("solver", "ddin", "unknown solver 'ddin'"), ("steps", 2**20, "at most")],
)
def test_options_and_defaults_out_of_range_are_refused(
    model: MultiViewModel, tiny_checkpoint: Path, tmp_path: Path, name: str, value, message: str
):
    with pytest.raises(InputError, match=message):
        model.generate(pictures(1), masks(1), **{name: value})
    edited = shutil.copytree(tiny_checkpoint, tmp_path / "edited")
    config = json.loads((edited / "config.json").read_text())
    config["sampling"][name] = value
    (edited / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"checkpoint {edited}: its defaults for sampling: .*{message}"):
        dimvida.load(edited)


def test_names_that_cannot_name_a_view_are_refused(tiny_checkpoint: Path, tmp_path: Path):
    edited = shutil.copytree(tiny_checkpoint, tmp_path / "edited")
    config = json.loads((edited / "config.json").read_text())
    for name in ("../front", "", "a__b", "a\nb"):
        config["view_names"][0] = name
        (edited / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=rf"checkpoint {edited}: .* cannot name a view"):
            dimvida.load(edited)


@pytest.mark.parametrize(
    ("views", "known"),
    [
        (pictures(2)[:, :3], masks(2)),
        (pictures(2)[0], masks(2)),
        (pictures(2), masks(3)),
        (pictures(2), masks(2).float()),
    ],
)
def test_tensors_that_do_not_fit(model: MultiViewModel, views: Tensor, known: Tensor):
    with pytest.raises(ValueError, match="must be"):
        model.generate(views, known)


def test_what_is_saved_is_what_was_loaded_byte_for_byte(tmp_path: Path, tiny_checkpoint: Path):
    model = dimvida.load(tiny_checkpoint)
    model.save(tmp_path / "saved")
    written = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    assert written.pop("README.md").startswith(b"---\nlibrary_name: dimvida\n")
    again = dimvida.load(tmp_path / "saved")
    assert again.checkpoint_hash == model.checkpoint_hash and again.config == model.config
    (tmp_path / "saved" / "README.md").write_text("mine")
    again.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text() == "mine"
    assert {name: (tmp_path / "saved" / name).read_bytes() for name in written} == written


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("F16", 0.5), ("BF16", 2.0**20), ("F32", 1 / 3), ("F64", 1 / 3 + 2.0**-40)],
)
def test_weights_are_saved_in_the_narrowest_type_that_holds_them(tmp_path: Path, dtype: str, value: float):
    config = CheckpointConfig(
        view_names=("a", "b"), classes=(), autoencoder=AutoencoderConfig(image_size=16, latent_dim=4, base=8),
        score=ScoreConfig(width=16, time_dim=8, groups=4),
    )  # fmt: skip
    autoencoder, score = config.build()
    with torch.no_grad():
        for weight in (*autoencoder.parameters(), *score.parameters()):
            weight.fill_(1.0)
    model = MultiViewModel(Checkpoint(config, autoencoder, score, torch.zeros(4), torch.ones(4)))
    if dtype == "F64":
        model.double()
    with torch.no_grad():
        model.score.output.weight[0, 0] = value
    model.save(tmp_path)
    header = (tmp_path / "score.safetensors").read_bytes()
    assert set(re.findall(rb'"dtype":"(\w+)"', header)) == {dtype.encode()}
    assert torch.equal(dimvida.load(tmp_path).score.output.weight, model.score.output.weight.float())
    with torch.no_grad():
        model.score.output.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        model.save(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        dimvida.load(tmp_path).save(tmp_path / "config.json")


def test_a_model_is_not_saved_to_a_url(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="hf://owner/name: models are saved to folders"):
        dimvida.load(tiny_checkpoint).save("hf://owner/name")
    assert not list(tmp_path.glob("hf:*"))
