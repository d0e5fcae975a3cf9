"""What callers give: tensors that fit the model, and which views are known, by a mask or by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError


def require_tensor(name: str, value: Any, form: str) -> None:
    """Raise TypeError unless ``value`` is a tensor; ``form`` says which one is meant."""
    if not isinstance(value, Tensor):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise TypeError(f"{name} must be a torch tensor, {form}, not {kind}; torch.as_tensor({name}) makes one of it")


def require_pixels(name: str, images: Tensor, shape: tuple[int, int, int], *, floating: bool) -> None:
    """Raise ValueError unless they are images [..., C, H, W] of that shape, uint8 or, if allowed, float."""
    fits = images.dtype == torch.uint8 or (floating and images.is_floating_point())
    if fits and tuple(images.shape[-3:]) == shape:
        return
    kinds = "uint8 or float" if floating else "uint8"
    hint = ""
    if tuple(images.shape[-3:]) == (*shape[1:], shape[0]):
        hint = f"; channels come first: {name}.movedim(-1, -3)"
    raise ValueError(f"{name} must be {kinds} [..., {_listed(shape)}], not {images.dtype} {list(images.shape)}{hint}")


def arrange(
    views: Tensor, known: Tensor | str | Sequence[str], names: tuple[str, ...], shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """All views of every object, and which of them are known.

    Args:
        views: uint8 [B, V, C, H, W]. With n names in place of a mask also [B, n, C, H, W], the named views in that
            order, and with one name [B, C, H, W].
        known: bool [B, V]; or the name of the known view of every object, or several names.
        names: Of the model's V views.
        shape: C, H and W of an image.

    Returns:
        views uint8 [B, V, C, H, W], 0 where a view was not given; known bool [B, V], on the CPU if it was made here.

    Raises:
        TypeError: For something that is no tensor, and names that are no strings.
        InputError: For a name that the model does not have.
        ValueError: For another shape or dtype.
    """
    require_tensor("views", views, f"uint8 [B, {len(names)}, {_listed(shape)}]")
    if isinstance(known, Tensor):
        if views.ndim != 5 or views.shape[1] != len(names):
            raise ValueError(_misfit(views, len(names), shape))
        require_pixels("views", views, shape, floating=False)
        if known.dtype != torch.bool or known.shape != views.shape[:2]:
            raise ValueError(f"known must be bool {list(views.shape[:2])}, not {known.dtype} {list(known.shape)}")
        return views, known
    places = _places(known, names)
    if views.ndim == 4 and len(places) == 1:
        views = views[:, None]
    if views.ndim != 5 or views.shape[1] not in (len(names), len(places)):
        raise ValueError(_misfit(views, len(names), shape, len(places)))
    require_pixels("views", views, shape, floating=False)
    if len(places) == len(names) and places != sorted(places):
        raise ValueError(f"all views are named, so they must stand in the model's order: {', '.join(names)}")
    mask = torch.zeros(len(views), len(names), dtype=torch.bool, device="cpu")
    mask[:, places] = True
    if views.shape[1] == len(names):
        return views, mask
    everything = views.new_zeros(len(views), len(names), *shape)
    for column, place in enumerate(places):
        everything[:, place] = views[:, column]
    return everything, mask


def _places(known: Any, names: tuple[str, ...]) -> list[int]:
    given = (known,) if isinstance(known, str) else known
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise TypeError(
            f"known must be a bool tensor [B, {len(names)}], or names of {', '.join(names)}, not "
            f"{type(known).__qualname__}; torch.as_tensor(known) makes a tensor of an array or a list"
        )
    for name in given:
        if name not in names:
            raise InputError(f"the model has no view {name!r}; it has {', '.join(names)}")
    if len(set(given)) != len(given):
        raise InputError(f"a view is named twice: {', '.join(given)}")
    return [names.index(name) for name in given]


def _misfit(views: Tensor, count: int, shape: tuple[int, int, int], named: int | None = None) -> str:
    forms = [f"[B, {count}, {_listed(shape)}]"]
    if named is not None and named != count:
        forms.append(f"[B, {named}, {_listed(shape)}] of the named views")
    if named == 1:
        forms.append(f"[B, {_listed(shape)}] of the named view")
    return f"views must be uint8 {', or '.join(forms)}, not {views.dtype} {list(views.shape)}"


def _listed(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
