"""What modulates the tokens of a view transformer in all evaluations of a trajectory, and which tokens these compute.

An evaluation has two times, 0 of the known views and t of the missing ones, so what modulates the tokens is a table,
filled once a trajectory.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from dimvida.models.transformer import ViewTransformer
from dimvida.sampling.trajectory import Conditioning


class Modulation(Conditioning):
    """Gate, shift and 1 + scale of all sites, float32 [1 + evaluations held, sites, 3, W], and what else is fixed.

    Site 0 is in front of the first block, with a gate of 1; after a block's attention comes site 2 block + 1, after its
    MLP site 2 block + 2, the last of which is in front of the output.

    Args:
        network: Makes them out of a time, in float32.
        known: Which views are known, bool [B, n].
        start: What every token is before its patch is added, float32 [n or B, n, P, W].
        times: Time of each evaluation, float32 [evaluations].
        largest: Bytes above which only one evaluation is held, and recomputed at each.
        on_host: ``known`` on the CPU, if the caller had it there.

    Attributes:
        mask: Which tokens attend to which, bool [B, 1, N, n P]; None for all to all.
        kept: Of a network whose known views attend to known ones, the views whose keys and values are the same in every
            evaluation and not computed again, int64, places among all B n; as many of each row. None if there are none.
        computed: The others, int64, as many of each row: all missing ones, and known ones in rows that lack fewer. None
            where all views are computed: in the first evaluation, or in all.
    """

    def __init__(
        self,
        network: ViewTransformer,
        known: Tensor,
        start: Tensor,
        times: Tensor,
        largest: int,
        on_host: Tensor | None = None,
    ) -> None:
        self.network, self.known, self.start, self.times = network, known, start, times
        self.mask = network.attention_mask((~known).float(), None)
        self.kept: Tensor | None = None
        self.computed: Tensor | None = None
        shape = 2 * len(network.blocks) + 1, 3, network.width
        self.holds_all = 4 * len(times) * math.prod(shape) <= largest
        self.rows = start.new_empty(1 + (len(times) if self.holds_all else 1), *shape)
        self._fill(self.rows[:1], times.new_zeros(1))
        if self.holds_all:
            self._fill(self.rows[1:], times)
        if network.known_attend == "known" and on_host is not None:  # else a GPU would be waited for
            self._keep((~on_host).sum(1))

    def at(self, evaluation: Tensor) -> tuple[Tensor, Tensor | None]:
        """The table, and which of its rows after the first is of an evaluation, int64 [1]; None for the only one."""
        if self.holds_all:
            return self.rows, evaluation
        self._fill(self.rows[1:], self.times.index_select(0, evaluation))
        return self.rows, None

    def later(self) -> Modulation:
        """What evaluations after the first read: they compute the views that are not kept."""
        if self.kept is None:
            return self
        later = copy.copy(self)
        later.computed, later.known = self._computed, self._computed_known
        later.start, later.mask = self._computed_start, self._computed_mask
        return later

    def _keep(self, missing: Tensor) -> None:
        """Keep as many views of each row as are known in all, given how many each lacks, int64 [B] on the CPU."""
        rows, views = self.known.shape
        count = int(missing.max())
        if count in (0, views):
            return
        order = self.known.byte().argsort(dim=1, stable=True)  # missing views first
        computed, kept = order[:, :count], order[:, count:]
        row = torch.arange(rows, device=order.device)[:, None]
        self.kept, self._computed = ((views * row + places).flatten() for places in (kept, computed))
        self._computed_known = self.known.gather(1, computed)
        self._computed_start = self.start[computed] if self.start.ndim == 3 else self.start[row, computed]
        self._computed_mask = None
        if int(missing.min()) < count:
            behind = self.known.gather(1, torch.cat([kept, computed], 1))  # in the order of the keys
            mask = self.network.attention_mask((~behind).float(), None)
            self._computed_mask = mask[:, :, -count * self.start.shape[-2] :]

    def _fill(self, rows: Tensor, times: Tensor) -> None:
        c = self.network.condition(times)  # [N, W]
        of_blocks = c if self.network.block_modulation is None else self.network.block_modulation(c)
        given = [*(block.modulation(of_blocks) for block in self.network.blocks), self.network.modulation(c)]
        # Each begins with a shift and a scale, and a block's goes on with gate, shift, scale, gate.
        rows.copy_(torch.cat([torch.ones_like(c), *given], 1).view(rows.shape))
        rows[:, :, 2] += 1
