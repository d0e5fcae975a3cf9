"""Which views of its objects a step of the diffusion trains on: all of them, or a few that are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dimvida.training.stage_config import DiffusionStageConfig


class ViewSets:
    """Draws views of objects, so that a step costs the same however many the data have.

    Of each object a set of its own, all of the same number: uniform over the sets of that size among the views that the
    object has or, for a share of them, evenly spaced around it, beginning anywhere.

    Args:
        views: Number of views V of the data.
        config: ``views_drawn``, ``views_least`` and ``views_even``.
        cameras: Azimuth and elevation of each view in degrees; needed where some sets are to be evenly spaced.
    """

    def __init__(
        self, views: int, config: DiffusionStageConfig, cameras: Sequence[tuple[float, float]] | None = None
    ) -> None:
        self._views, self._share = views, config.views_even
        self._counts = config.counts_of(views)
        angles = None if cameras is None or not self._share else torch.tensor(cameras, dtype=torch.float64)
        self._even = {count: torch.zeros(0, count, dtype=torch.int64) for count in self._counts}
        if angles is not None:
            self._even = {count: evenly_spaced(angles, count) for count in self._counts}

    @property
    def draws(self) -> bool:
        """Whether anything is drawn: else all views are taken, in their order."""
        return self._counts != range(self._views, self._views + 1)

    def draw(self, present: Tensor, generator: torch.Generator) -> Tensor:
        """Views of each of B objects.

        Args:
            present: bool [B, V], the views that each has, at least two.
            generator: Source of randomness on the CPU.

        Returns:
            int64 [B, n], different ones in each row, at least two of them present.
        """
        if not self.draws:
            return torch.arange(self._views).expand(len(present), -1)
        low, high = self._counts[0], self._counts[-1]
        count = low if low == high else int(torch.randint(low, high + 1, (), generator=generator))
        # Present views in a random order, then the others.
        order = (torch.rand(present.shape, generator=generator) + 2 * ~present).argsort(1)
        views, even = order[:, :count], self._even[count]
        if not len(even):
            return views
        start = torch.randint(len(even), (len(present),), generator=generator)
        chosen = torch.rand(len(present), generator=generator) < self._share
        chosen &= present.gather(1, even[start]).sum(1) >= 2  # of a single view there is nothing to complete
        return torch.where(chosen[:, None], even[start], views)


def evenly_spaced(cameras: Tensor, count: int) -> Tensor:
    """Sets of views that are as evenly spaced around an object as its views allow, one beginning at each view.

    Args:
        cameras: Azimuth and elevation of V views in degrees, [V, 2].
        count: Views n of a set.

    Returns:
        int64 [at most V, n]; sets in which two places would have the same view are left out.
    """
    azimuth, elevation = cameras.unbind(1)
    wanted = azimuth[:, None] + 360 / count * torch.arange(count)  # [V, n]
    apart = (wanted[..., None] - azimuth + 180).remainder(360) - 180  # [V, n, V]
    apart = apart.abs() + (elevation[:, None, None] - elevation).abs()
    sets = apart.argmin(2)
    ordered = sets.sort(1).values
    return sets[(ordered[:, 1:] != ordered[:, :-1]).all(1)]
