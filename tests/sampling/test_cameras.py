"""Views at any angle, in any number and any order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import dimvida
from dimvida.errors import InputError
from dimvida.sampling.cameras import camera_tensor, degrees_from, noise_ids
from dimvida.sampling.multiview import MultiViewModel

NAMED = [(0.0, 30.0), (-90.0, 30.0), (-180.0, 30.0), (-270.0, 30.0)]


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 another order of additions shows."""
    monkeypatch.setenv("DIMVIDA_DTYPE", "float32")


@pytest.fixture(scope="module")
def model(camera_checkpoint: Path, one_thread: None) -> MultiViewModel:
    return dimvida.load(camera_checkpoint)


@pytest.fixture(scope="module")
def named_model(tiny_checkpoint: Path) -> MultiViewModel:
    return dimvida.load(tiny_checkpoint)


def pictures(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randint(0, 256, (*shape, 3, 16, 16), generator=generator, dtype=torch.uint8)


def turned(count: int, elevation: float = 30.0) -> list[tuple[float, float]]:
    return [(-360.0 * view / count, elevation) for view in range(count)]


def split_mix(state: int) -> int:
    """The number that SplitMix64 makes of a state, as a signed one."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    z ^= z >> 31
    return z - (z >> 63 << 64)


def close(left: Tensor, right: Tensor) -> bool:
    """Whether pictures are the same but for the rounding of products of other sizes."""
    return left.shape == right.shape and int((left.int() - right.int()).abs().max()) <= 1


@pytest.mark.parametrize("known", ["front", "left", ["right", "back"], ["back", "front", "left"]])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_any_known_views_make_any_number_of_others(model: MultiViewModel, known: str | list[str], count: int):
    names = [known] if isinstance(known, str) else known
    views = pictures(2, len(names))
    angles = [(10.0 + 11 * view, -20.0 + 10 * view) for view in range(count)]
    out = model.generate(views, known, cameras=angles, seed=3)
    assert out.shape == (2, len(names) + count, 3, 16, 16) and out.dtype == torch.uint8
    assert torch.equal(out[:, : len(names)], views)
    for made in out[:, len(names) :].unbind(1):
        assert not torch.equal(made[0], made[1])
    again = model.generate(views, known, cameras=torch.tensor(angles), seed=3)
    assert torch.equal(again, out)
    assert not close(model.generate(views, known, cameras=angles, seed=4)[:, -1], out[:, -1])


def test_named_views_are_those_at_their_cameras(model: MultiViewModel):
    views, known = pictures(3, 4), torch.tensor([[True, False, False, False], [False, True, True, False], [False] * 4])
    out = model.generate(views, known, seed=5)
    assert torch.equal(out[known], views[known])
    assert torch.equal(model.generate(views, known, cameras=NAMED, seed=5), out)
    assert torch.equal(model.generate(views, known, cameras=torch.tensor(NAMED).expand(3, 4, 2), seed=5), out)
    one = model.generate(views[:1, 0], "front", seed=5)
    assert close(model.generate(views[:1, 0], "front", cameras=NAMED[1:], seed=5), one)


def test_the_order_of_views_changes_nothing_but_their_order(model: MultiViewModel):
    views, angles = pictures(2, 6), torch.tensor(turned(6))
    known = torch.tensor([[True, False, True, False, False, False], [False, False, False, False, True, False]])
    out = model.generate(views, known, cameras=angles)
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    assert close(model.generate(views[:, order], known[:, order], cameras=angles[order]), out[:, order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("solver", ["sde-dpmpp-2m", "repaint"])
def test_the_engine_makes_the_same_views(model: MultiViewModel, dtype: torch.dtype, solver: str):
    views, angles = pictures(3, 5), torch.tensor([turned(5), turned(5, 10.0), turned(5)])
    known = torch.tensor([[True, False, False, False, False]] * 2 + [[False, True, True, False, False]])
    options = {"cameras": angles, "solver": solver, "sample_ids": torch.tensor([4, 5, -6])}
    eager = model.generate(views, known, backend="eager", **options)
    made = model.generate(views, known, dtype=dtype, **options)
    assert torch.equal(made[known], views[known])
    apart = (made.int() - eager.int()).abs().float()
    assert apart.max() <= 1 if dtype == torch.float32 else apart.mean() < 2  # levels; other noise is 50 off


def test_full_turns_are_no_other_camera(model: MultiViewModel):
    far = camera_tensor([(360 * 2_777_778 + 45.5, 10), (-765.5, -5), (360, 0), (-359.5, 0)])
    assert far.tolist() == [[45.5, 10], [314.5, -5], [0, 0], [-359.5, 0]]
    assert torch.equal(camera_tensor(torch.tensor([[1e9, 0]], dtype=torch.float64)), torch.tensor([[280.0, 0]]))
    near, later = (model(pictures(1), "front", cameras=[(angle, 10)], steps=2) for angle in (45.5, 36e8 + 45.5))
    assert torch.equal(near, later)


def test_each_row_may_have_cameras_of_its_own(model: MultiViewModel):
    views, known = pictures(2, 3), torch.tensor([[True, False, False]] * 2)
    angles = torch.tensor([turned(3), turned(3, elevation=-15.0)])
    together = model.generate(views, known, cameras=angles, sample_ids=torch.tensor([7, 8]))
    for row in range(2):
        one = slice(row, row + 1)
        alone = model.generate(views[one], known[one], cameras=angles[row], sample_ids=torch.tensor([7 + row]))
        assert close(alone, together[one])


def test_noise_belongs_to_sample_and_camera(model: MultiViewModel):
    ids, angles = torch.tensor([0, 5, -(2**63)]), camera_tensor(turned(24) + turned(24, 0.0))
    noise = noise_ids(ids, angles)
    assert noise.shape == (3, 48) and len(noise.unique()) == 3 * 48
    assert torch.equal(noise_ids(ids[1:], angles[5:9]), noise[1:, 5:9])
    assert torch.equal(noise_ids(ids, angles + torch.tensor([360.0, 0.0])), noise)
    assert torch.equal(noise_ids(ids, angles.expand(3, 48, 2)), noise)
    # What an output of today says is its noise: another function would make other pictures of the same command.
    assert noise_ids(torch.tensor([0]), camera_tensor([(0, 30), (-90, 30)])).tolist() == [
        [5618484766379213378, -8970515505866534277]
    ]
    states = [round(a % 360 * 10**4) * 2**24 + round((e + 90) * 10**4) for a, e in turned(24) + turned(24, 0.0)]
    hashes = list(map(split_mix, states))
    assert noise[0].tolist() == hashes and noise[1].tolist() == [number ^ 5 for number in hashes]
    with pytest.raises(ValueError, match=r"sample_ids must be int64 \[B\]"):
        noise_ids(ids.int(), angles)


def test_more_views_leave_the_noise_of_the_others_as_it_is(model: MultiViewModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model.score, "forward", lambda x, tau, views: torch.zeros_like(x))
    front = pictures(2)
    few = model.generate(front, "front", cameras=[(45.0, 30.0), (100.0, 0.0)])
    many = model.generate(front, "front", cameras=[(20.0, 30.0), (45.0, 30.0), (70.0, 30.0), (100.0, 0.0)])
    assert close(many[:, [0, 2, 4]], few)


@pytest.mark.parametrize("count", [1, 5, 24])
def test_a_turntable(model: MultiViewModel, count: int):
    image = pictures()
    out = model.turntable(image, count, seed=2)
    assert out.shape == (count, 3, 16, 16)
    assert torch.equal(out[0], image)
    made = model.generate(image[None], "front", cameras=turned(count)[1:], seed=2)[0]
    assert close(out, made)


def test_a_turntable_of_several_views_and_of_another_elevation(model: MultiViewModel):
    images = pictures(2)
    out = model.turntable(images, 8, at=["right", "back"])
    assert torch.equal(out[[0, 2]], images)  # it begins at the first one, and moves to the viewer's right
    assert torch.equal(model.turntable(images, 8, at=[(270, 30), (180, 30)]), out)
    above = model.turntable(images, 8, at=["right", "back"], elevation=60.0)
    assert not any(torch.equal(view, image) for view in above for image in images)
    cameras = [*NAMED[1:3], *((-90.0 - 45 * view, 60.0) for view in range(8))]
    known = torch.tensor([[True, True] + [False] * 8])
    views = torch.cat([images, images.new_zeros(8, 3, 16, 16)])[None]
    assert close(model.generate(views, known, cameras=cameras)[0, 2:], above)


def test_degrees_from_the_nearest():
    apart = degrees_from([(0, 30), (45, 0), (-350, 0), (0, 90), (123, 90)], [(0, 0), (90, 0), (0, 85)])
    torch.testing.assert_close(apart, torch.tensor([30.0, 45.0, 10.0, 5.0, 5.0]))
    assert degrees_from([(361.0, 0)], [(1.0, 0)]) < 1e-4
    assert abs(degrees_from([(180.0, -10.0)], [(0.0, 10.0)]) - 180) < 1e-3


def test_what_has_no_cameras_is_refused(named_model: MultiViewModel):
    for ask in (
        lambda: named_model.generate(pictures(1), "front", cameras=[(45, 30)]),
        lambda: named_model.turntable(pictures()),
    ):
        with pytest.raises(
            InputError, match=r"no cameras, so it makes its views front, right, back, left and no others"
        ):
            ask()
    assert named_model.cameras is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": [45.0, 30.0]}, "cameras must be pairs of azimuth and elevation"),
        ({"cameras": [(45.0, 30.0, 1.0)]}, r"cameras must be \[n, 2\] or \[B, n, 2\]"),
        ({"cameras": torch.zeros(3)}, r"cameras must be \[n, 2\] or \[B, n, 2\]"),
        ({"cameras": torch.zeros(3, 1, 2)}, r"cameras must be \[2, 2\] or \[2, 2, 2\]"),
        ({"cameras": [(float("nan"), 0.0)]}, "a finite azimuth"),
        ({"cameras": [(0.0, 91.0)]}, "an elevation from -90 to 90 degrees"),
        ({"cameras": [(0.0, float("inf"))]}, "an elevation from -90 to 90 degrees"),
        ({"cameras": [(7.0, 5.0), (1.0, 5.0), (367.0, 5.0)]}, "azimuth (7|367) at elevation 5 is there twice"),
        ({"cameras": [(9.0, 0.0), (-360.0, 30.0)]}, "azimuth (0|-360) at elevation 30 is there twice"),
        ({"cameras": torch.tensor([[[1.0, 0], [2, 0]], [[3, 0], [3.00001, 0]]])}, "azimuth 3 at elevation 0 is there"),
        ({"cameras": [(0.0, 0.0)], "known": "top"}, "no view 'top'; it has front, right, back, left"),
        ({"cameras": [(0.0, 0.0)], "known": ["front", "back"]}, r"views must be uint8 \[B, 2, 3, 16, 16\]"),
        ({"cameras": [(0.0, 0.0)], "known": torch.ones(2, 2, dtype=torch.bool)}, "views must be uint8"),
        ({"cameras": [(0.0, 0.0)], "sample_ids": torch.zeros(3, dtype=torch.int64)}, "sample_ids must be int64"),
    ],
)
def test_cameras_that_do_not_fit(model: MultiViewModel, options: dict, message: str):
    options = {"known": "front", **options}
    with pytest.raises((InputError, ValueError), match=message):
        model.generate(pictures(2), **options)


def test_turntables_that_do_not_fit(model: MultiViewModel):
    for count in (0, 3601, 2.5):
        with pytest.raises(InputError, match="count"):
            model.turntable(pictures(), count)
    for options in ({"at": ["front"]}, {"at": [(0, 30)] * 3}, {}):
        with pytest.raises(ValueError, match="at must have one camera for each of 2 images"):
            model.turntable(pictures(2), 4, **options)
    with pytest.raises(InputError, match="elevation"):
        model.turntable(pictures(), 4, elevation=100.0)
    with pytest.raises(ValueError, match=r"images: float images are in \[0, 1\]"):
        model.turntable(pictures().float(), 4)
