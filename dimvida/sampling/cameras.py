"""Views by their cameras: azimuth and elevation in degrees, which a camera-conditioned model takes in any number.

Azimuth 0 sees the front, and a negative one moves the camera to the viewer's right; elevation 0 is level with the
object. A camera is a pair of both, several are a tensor [n, 2] or [B, n, 2], or as many pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError, require_whole
from dimvida.sampling.images import misfit, places_named, require_pixels

CameraAngles = Tensor | Sequence[Sequence[float]]

LARGEST_TURN = 3600
"""Most views of a turn."""

GRID = 1e-4
"""Degrees: cameras that round to the same multiples are the same."""

_GOLDEN, _MIX1, _MIX2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # of SplitMix64, signed


def camera_tensor(cameras: Any) -> Tensor:
    """Cameras as float32 [n, 2] or [B, n, 2], on the device that they are on; those of pairs on the CPU.

    Full turns are taken away first: of an azimuth of many, float32 would keep no decimals.

    Raises:
        ValueError: ``cameras`` has another shape.
        InputError: An angle is not finite, or an elevation not between -90 and 90 degrees.
    """
    if isinstance(cameras, Tensor):
        made = cameras.double()
    else:
        try:
            pairs = [[float(angle) for angle in pair] for pair in cameras]
            made = torch.tensor(pairs, dtype=torch.float64, device="cpu")
            made = made if pairs else made.reshape(0, 2)
        except (TypeError, ValueError):
            raise ValueError("cameras must be pairs of azimuth and elevation in degrees, or a tensor of them") from None
    if made.ndim not in (2, 3) or made.shape[-1] != 2:
        raise ValueError(f"cameras must be [n, 2] or [B, n, 2], azimuth and elevation, not {list(made.shape)}")
    if made.device.type == "cpu" and not (made.isfinite().all() and (made[..., 1].abs() <= 90).all()):
        raise InputError("a camera needs a finite azimuth and an elevation from -90 to 90 degrees")
    azimuth, elevation = made.unbind(-1)
    azimuth = torch.where(azimuth.abs() < 360, azimuth, azimuth.remainder(360))
    return torch.stack([azimuth, elevation], -1).float()


def cameras_of(at: str | Sequence[str] | CameraAngles, named: dict[str, tuple[float, float]]) -> Tensor:
    """The cameras of views by name, one or several, float32 [n, 2] on the CPU; those that are none stay themselves.

    Raises:
        InputError: There is no view of that name.
        ValueError: Cameras have another shape than ``camera_tensor`` takes.
    """
    if isinstance(at, str) or (isinstance(at, Sequence) and all(isinstance(name, str) for name in at)):
        at = [list(named.values())[place] for place in places_named(at, tuple(named))]
    return camera_tensor(at).cpu()


def steps_of(cameras: Tensor) -> Tensor:
    """Azimuth from 0 to 360 degrees and elevation as multiples of ``GRID``: int64 of the same shape."""
    steps = (cameras.double() / GRID).round().long()
    return torch.stack([steps[..., 0].remainder(round(360 / GRID)), steps[..., 1]], -1)


def noise_ids(sample_ids: Tensor, cameras: Tensor) -> Tensor:
    """The id of each view's noise: a function of the sample's id and the view's camera, and of no other view.

    The camera is hashed (SplitMix64; Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).

    Args:
        sample_ids: int64 [B].
        cameras: float32 [n, 2] or [B, n, 2].

    Returns:
        int64 [B, n].

    Raises:
        ValueError: The ids are of another form.
    """
    if sample_ids.dtype != torch.int64 or sample_ids.ndim != 1:
        raise ValueError(f"sample_ids must be int64 [B], not {sample_ids.dtype} {list(sample_ids.shape)}")
    azimuth, elevation = steps_of(cameras).unbind(-1)
    z = (azimuth << 24) + elevation + round(90 / GRID) + _GOLDEN
    z = (z ^ _shifted(z, 30)) * _MIX1
    z = (z ^ _shifted(z, 27)) * _MIX2
    return sample_ids[:, None] ^ z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Unsigned 64-bit numbers shifted to the right."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def arrange_at(
    views: Tensor,
    known: Tensor | str | Sequence[str],
    cameras: CameraAngles,
    named: dict[str, tuple[float, float]],
    shape: tuple[int, int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """All views of every object, which of them are known, and their cameras.

    Args:
        views: uint8 [B, n, C, H, W]; with k names in place of a mask [B, k, C, H, W], with one also [B, C, H, W].
        known: bool [B, n]; or the names of the known views of every object.
        cameras: With a mask those of all n views, [n, 2] or [B, n, 2]; with names those of the views to make.
        named: The model's own views, and where they are.
        shape: C, H and W of an image.

    Returns:
        views uint8 [B, n, C, H, W], known bool [B, n], and float32 [n, 2] or [B, n, 2]; the known views come first
        where they were named.

    Raises:
        TypeError, ValueError, InputError: As ``dimvida.sampling.images.arrange``, and for cameras that do not fit or
            are there twice.
    """
    at = camera_tensor(cameras)
    if not isinstance(known, Tensor):
        places = places_named(known, tuple(named))
        views = views[:, None] if views.ndim == 4 and len(places) == 1 else views
        if views.ndim != 5 or views.shape[1] != len(places):
            raise ValueError(misfit(views, len(places), shape))
        of_known = cameras_of(known, named).to(at.device)
        at = torch.cat([of_known.expand(*at.shape[:-2], -1, -1), at], -2)
        known = (torch.arange(at.shape[-2], device="cpu") < len(places)).expand(len(views), -1)
        views = torch.cat([views, views.new_zeros(len(views), at.shape[-2] - len(places), *views.shape[2:])], 1)
    require_pixels("views", views, shape, floating=False)
    if views.ndim != 5:
        raise ValueError(misfit(views, at.shape[-2], shape))
    if known.dtype != torch.bool or known.shape != views.shape[:2]:
        raise ValueError(f"known must be bool {list(views.shape[:2])}, not {known.dtype} {list(known.shape)}")
    if list(at.shape) not in ([views.shape[1], 2], [*views.shape[:2], 2]):
        wanted = f"[{views.shape[1]}, 2] or [{len(views)}, {views.shape[1]}, 2]"
        raise ValueError(f"cameras must be {wanted}, not {list(at.shape)}")
    _require_different(at)
    return views, known, at


def _require_different(cameras: Tensor) -> None:
    """Raise InputError where a camera is there twice; of those on a GPU nobody asks, which would wait for it."""
    if cameras.device.type != "cpu" or cameras.shape[-2] < 2:
        return
    steps = steps_of(cameras)
    codes, order = (steps[..., 0] * (1 << 24) + steps[..., 1]).sort(-1)
    same = (codes.diff(dim=-1) == 0).nonzero()
    if len(same):
        azimuth, elevation = cameras[tuple(same[0, :-1])][order[tuple(same[0])]].tolist()
        raise InputError(
            f"cameras: azimuth {azimuth:g} at elevation {elevation:g} is there twice (a full turn is no other camera, "
            "and known views count); ask for each once"
        )


def turn(images: Tensor, at: Tensor, count: int, elevation: float | None) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """A turn around one object in steps of the same angle, which begins at the first known view's azimuth.

    Args:
        images: The known views, uint8 [k, C, H, W].
        at: Their cameras, float32 [k, 2].
        count: Number of views of the turn, each a step further to the viewer's right.
        elevation: Of all of them; by default that of the first known view.

    Returns:
        What ``generate`` is asked for: views [1, n, C, H, W], known [1, n] and cameras [n, 2], the known views first
        and then those of the turn that are none of them; and which of the n each view of the turn is.

    Raises:
        ValueError: There is not one camera for each image.
        InputError: ``count`` is no number from 1 to ``LARGEST_TURN``, or ``elevation`` none.
    """
    if at.ndim != 2 or len(at) != len(images) or not len(images):
        raise ValueError(f"at must have one camera for each of {len(images)} images, not {list(at.shape)}")
    count = require_whole("count", count, 1, LARGEST_TURN)
    start, level = at[0].tolist()
    level = level if elevation is None else elevation
    around = camera_tensor([(start - 360 * view / count, level) for view in range(count)])
    places = {tuple(steps): place for place, steps in reversed(list(enumerate(steps_of(at).tolist())))}
    same = [places.get(tuple(steps)) for steps in steps_of(around).tolist()]
    made = [view for view, place in enumerate(same) if place is None]
    order = [len(at) + made.index(view) if place is None else place for view, place in enumerate(same)]
    views = torch.cat([images, images.new_zeros(len(made), *images.shape[1:])])
    known = torch.arange(len(views), device="cpu") < len(images)
    return views[None], known[None], torch.cat([at, around[made]]), order


def degrees_from(cameras: CameraAngles, others: CameraAngles) -> Tensor:
    """How far each camera is from the nearest of others, along a great circle: degrees, float32 [n]."""
    directions = []
    for angles in (cameras, others):
        azimuth, elevation = camera_tensor(angles).double().deg2rad().unbind(-1)
        level = elevation.cos()
        directions.append(torch.stack([level * azimuth.sin(), level * azimuth.cos(), elevation.sin()], -1))
    apart = (directions[0][:, None] - directions[1][None]).norm(dim=-1)  # chords: exact for small angles, too
    return (2 * (apart.min(1).values / 2).clamp_max(1).asin()).rad2deg().float()
