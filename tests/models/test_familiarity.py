"""Whether images are of the kind that a model was trained on."""

from __future__ import annotations

import pytest
import torch

from dimvida.errors import InputError
from dimvida.models import AutoencoderConfig
from dimvida.models.autoencoder import build_autoencoder
from dimvida.models.familiarity import InputStatistics, border_deviation, measure_inputs, reconstruction_error

GREEN = (0, 200, 0)


def on_background(count: int, colour: tuple[int, ...], size: int = 16, seed: int = 0) -> torch.Tensor:
    """Noise in the middle of a plain border of two pixels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.tensor(colour, dtype=torch.uint8).view(1, -1, 1, 1).repeat(count, 1, size, size)
    shape = (count, len(colour), size - 4, size - 4)
    images[:, :, 2:-2, 2:-2] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return images


def test_the_distance_of_a_border_by_hand():
    images = on_background(1, GREEN)
    background = torch.tensor(GREEN, dtype=torch.float32)
    assert border_deviation(images, background).tolist() == [0]
    images[:, :, 0] = torch.tensor([10, 160, 0], dtype=torch.uint8).view(3, 1)  # 40 off in the farthest channel
    # Of 4 x 16 pixels, corners twice: 16 of the top, and one of either side.
    assert border_deviation(images, background).tolist() == pytest.approx([40 * 18 / 64])


def test_the_distance_of_a_reconstruction_by_hand():
    images = torch.full((2, 1, 4, 4), 100, dtype=torch.uint8)
    shown = torch.full((2, 1, 4, 4), 100 / 255)
    shown[1, 0, :2] += 20 / 255
    assert reconstruction_error(images, shown).tolist() == pytest.approx([0, 20 / 2**0.5], abs=1e-3)


@pytest.mark.parametrize("colour", [GREEN, (255, 255, 255), (30,)])
def test_the_background_of_the_training_images_is_found(colour: tuple[int, ...]):
    torch.manual_seed(0)
    config = AutoencoderConfig(image_size=16, channels=len(colour), latent_dim=8, base=8)
    statistics = measure_inputs(build_autoencoder(config), on_background(40, colour))
    assert statistics.background == colour
    assert statistics.border == 0 and statistics.error > 0
    assert not statistics.foreign_border(on_background(40, colour, seed=1)).any()
    # A compressed picture's background is a little off, another background is far off.
    near = tuple(max(level - 5, 0) for level in colour)
    assert not statistics.foreign_border(on_background(5, near)).any()
    others = on_background(5, tuple(255 - level for level in colour))
    assert statistics.foreign_border(torch.cat([on_background(2, colour), others])).tolist() == [False] * 2 + [True] * 5


@pytest.mark.parametrize(("border", "limit"), [(0.0, 8), (40.0, 60)])
def test_a_border_may_be_off_by_some_levels_or_by_half_more_than_in_training(border: float, limit: int):
    statistics = InputStatistics((100.0,), border, 1.0)
    levels = [100, 100 + limit, 100 - limit, 101 + limit, 99 - limit]
    images = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
    assert statistics.foreign_border(images).tolist() == [False] * 3 + [True] * 2


def test_pictures_without_a_background_are_never_foreign_where_none_had_one():
    torch.manual_seed(0)
    config = AutoencoderConfig(image_size=16, latent_dim=8, base=8)
    noise = [torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8) for _ in range(2)]
    assert not measure_inputs(build_autoencoder(config), noise[0]).foreign_border(noise[1]).any()


def test_bad_reconstructions_are_told_by_those_of_the_training():
    statistics = InputStatistics((255.0,), 0.0, 10.0)
    images = torch.full((3, 1, 8, 8), 100, dtype=torch.uint8)
    shown = torch.full((3, 1, 8, 8), 100 / 255) + torch.tensor([9.0, 14.0, 30.0]).view(3, 1, 1, 1) / 255
    assert statistics.badly_reconstructed(images, shown).tolist() == [False, False, True]


@pytest.mark.parametrize("values", [((), 0.0, 1.0), ((300.0,), 0.0, 1.0), ((1.0,), float("nan"), 1.0)])
def test_what_is_no_level_is_refused(values: tuple):
    with pytest.raises(InputError, match="levels from 0 to 255"):
        InputStatistics(*values)
