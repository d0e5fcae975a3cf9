"""One evaluation of the view transformer over preallocated buffers, with its time conditioning as a table.

A site is where a residual sum meets the norm that follows it: one kernel does both and gathers its row of the table,
see ``modulation``. What the tokens know of their place and of their view is added up once a trajectory, too. Where
known views attend to known ones alone, nothing of them changes along a trajectory: the first evaluation keeps their
keys and values, and those after it compute the tokens of missing views only. Products and attention are PyTorch's.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimvida import ops
from dimvida.models.config import TransformerConfig
from dimvida.models.transformer import (
    NORM_EPSILON,
    CameraViews,
    NamedViews,
    Offset,
    TransformerBlock,
    ViewTransformer,
    attention,
)
from dimvida.sampling.backends import upload
from dimvida.sampling.modulation import Modulation
from dimvida.sampling.trajectory import Trajectory
from dimvida.sampling.weights_copy import has_only, made_of

LAYERS = (
    *(ViewTransformer, NamedViews, CameraViews, TransformerBlock, Offset),
    *(nn.Linear, nn.SiLU, nn.GELU, nn.Sequential, nn.ModuleList),
)


@functools.cache
def _as_built(
    views: int, latent_shape: tuple[int, ...], config: TransformerConfig, takes_cameras: bool
) -> list[tuple[str, type, str]]:
    cameras = [(0.0, 0.0)] * views if takes_cameras else None
    with torch.device("meta"):
        return made_of(ViewTransformer(views, latent_shape, config, cameras))


class FusedTransformer:
    """A ``ViewTransformer`` as the engine computes it.

    Args:
        network: Its weights are laid out, not copied where they need no other form: nobody may write them any more.
        dtype: Type of the products, of what they read and of what they write. The residual stream of the tokens, norms
            and modulation are float32.
    """

    NETWORK = ViewTransformer

    @staticmethod
    def serves(network: ViewTransformer) -> bool:
        """Whether a network's function is that of its weights: its layers are those that its sizes build."""
        built = _as_built(network.views, network.latent_shape, network.config, network.takes_cameras)
        return has_only(network, LAYERS) and made_of(network) == built

    def __init__(self, network: ViewTransformer, dtype: torch.dtype) -> None:
        if any(parameter.dtype != torch.float32 for parameter in network.parameters()):
            network = copy.deepcopy(network).float()
        self.network, self.width = network, network.width
        self.places = len(network.place_embedding)
        self.word, self.patch_order = _patch_order(network, dtype)
        self.grid_order = self.patch_order.argsort()
        self.input, self.output = network.input.weight.to(dtype), network.output.weight.to(dtype)
        self.output_bias = network.output.bias.to(dtype)
        self.blocks = [FusedTransformerBlock.of(block, dtype) for block in network.blocks]

    def condition(self, trajectory: Trajectory, times: Tensor, largest: int, fixed_shapes: bool) -> Modulation:
        """What the times of all evaluations do to the tokens, and what these begin with.

        Args:
            trajectory: Says which views there are, and which of them are known.
            times: Time of each evaluation, float32 [evaluations], on the CPU.
            largest: Bytes above which only one evaluation is held.
            fixed_shapes: Whether shapes must be the same from batch to batch, as they always are here.
        """
        network = self.network
        place = network.place_embedding + network.input.bias  # [P, W]
        start = network.view_embedding(trajectory.views)[..., None, :] + place  # [n or B, n, P, W]
        times = upload(times, start.device)
        return Modulation(network, trajectory.known, start, times, largest, trajectory.known_on_host)

    def size(self, shape: torch.Size) -> int:
        """What buffers for a state [B, n, D] are counted in: views."""
        return shape[0] * shape[1]

    def allocate(self, views: int) -> TokenBuffers:
        """Uninitialised buffers for so many views."""
        places, width, entries = self.places, self.width, self.input.shape[1]
        hidden = max(3 * width, len(self.blocks[0].contract))
        new = self.input.new_empty
        kept = 2 * width * places * len(self.blocks) if self.network.known_attend == "known" else 0
        return TokenBuffers(
            tokens=new(views, places, width, dtype=torch.float32),
            normed=new(views, places, width),
            product=new(views, places, width),
            patches=new(views, places, entries),
            wide=new(views, places * hidden),
            kept=new(views, kept),
            x_cast=new(views, self.network.latent_dim),
            model_output=new(views, self.network.latent_dim),
        )

    def evaluate(self, x: Tensor, time: Modulation, evaluation: Tensor, buffers: TokenBuffers) -> None:
        """buffers.model_output <- network(x, tau), of all views or of the missing ones.

        Args:
            x: The state in the dtype of the products, [B, n, D].
            time: What ``condition`` gave, or for evaluations after the first its ``later()``.
            evaluation: Number of the evaluation, int64 [1], on the device.
            buffers: Buffers of B n views.
        """
        known, kept = time.known.flatten(), buffers.kept.flatten()
        model_output, buffers = buffers.model_output, buffers.first(len(known))
        tokens, normed, product = buffers.tokens, buffers.normed, buffers.product  # [B n, P, W]
        flat, product_rows, patches = normed.flatten(0, 1), product.flatten(0, 1), buffers.patches.flatten(0, 1)
        table, step = time.at(evaluation)
        sites = table.unbind(1)
        # The same memory in every block.
        joint = buffers.wide_rows(len(flat), 3 * self.width)
        hidden = buffers.wide_rows(len(flat), len(self.blocks[0].contract))
        heads = joint.view(len(x), -1, 3, self.blocks[0].heads, self.width // self.blocks[0].heads)
        query, keys = heads[:, :, 0].transpose(1, 2), heads[:, :, 1:]
        key, value = _apart(keys)

        def norm(site: int, bias: Tensor | None = None) -> None:
            ops.modulated_norm_(tokens, normed, product, sites[site], known, step, bias, NORM_EPSILON)

        tokens.view(len(x), *time.start.shape[-3:]).copy_(time.start)
        views = x.view(-1, self.network.latent_dim)
        self._reorder(views if time.computed is None else views[time.computed], self.patch_order, buffers.patches)
        torch.mm(patches, self.input.t(), out=product_rows)
        norm(0)
        for number, block in enumerate(self.blocks):
            torch.addmm(block.attention_input_bias, flat, block.attention_input, out=joint)
            if time.kept is not None:
                of_block = kept.view(len(self.blocks), len(x), -1, *keys.shape[2:])[number]
                key, value = _apart(_with_kept(keys, of_block, time))
            attended = attention(query, key, value, time.mask).transpose(1, 2)  # [B, n P, heads, W / heads]
            torch.mm(attended.reshape(flat.shape), block.attention_output, out=product_rows)
            norm(2 * number + 1, block.attention_output_bias)
            block.expand_tokens(flat, hidden)
            torch.mm(hidden, block.contract, out=product_rows)
            norm(2 * number + 2, block.contract_bias)
        torch.addmm(self.output_bias, flat, self.output.t(), out=patches)
        self._reorder(buffers.patches, self.grid_order, buffers.model_output)
        if time.computed is not None:
            model_output.index_copy_(0, time.computed, buffers.model_output.clone())

    def _reorder(self, x: Tensor, order: Tensor, out: Tensor) -> None:
        """out <- the words of each view of x in another order; both of B n D elements."""
        x, out = (tensor.view(-1, self.network.latent_dim).view(self.word) for tensor in (x, out))
        torch.index_select(x, 1, order, out=out)


def _apart(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values as attention takes them, [B, heads, N, W / heads] each, of both [B, N, 2, heads, W / heads]."""
    key, value = keys.permute(2, 0, 3, 1, 4)
    return key, value


def _with_kept(keys: Tensor, kept: Tensor, time: Modulation) -> Tensor:
    """Keys and values of all views: those of the first evaluation, or kept ones and those that a later one computed.

    Args:
        keys: Keys and values of the views that are computed, [B, N, 2, heads, W / heads].
        kept: [B, n P, 2, heads, W / heads], those of kept views first.
        time: Says which views are kept, and whether this is the first evaluation, which fills ``kept``.
    """
    if time.computed is not None:
        kept[:, -keys.shape[1] :] = keys
        return kept
    of_views = keys.unflatten(1, (time.known.shape[1], -1)).flatten(0, 1)  # [B n, P, 2, heads, W / heads]
    of_kept = of_views.index_select(0, time.kept).view(len(keys), -1, *keys.shape[2:])
    kept[:, : of_kept.shape[1]] = of_kept
    return keys


def _patch_order(network: ViewTransformer, dtype: torch.dtype) -> tuple[torch.dtype, Tensor]:
    """Where in a view's latents the words of its patches come from, int64 [words], and the type of a word.

    A word is 4 bytes where the rows of patches are of such: two elements of 2 bytes at once, and of a type for which
    PyTorch has a fast way on CPUs, 25 times as fast as a copy of permuted strides.
    """
    word = torch.float32 if network.patch * dtype.itemsize % 4 == 0 else dtype
    elements = torch.arange(network.latent_dim, device=network.place_embedding.device)
    order = network._patches(elements[None, None]).flatten()
    together = word.itemsize // dtype.itemsize
    return word, order[::together] // together


@dataclass(frozen=True, slots=True)
class FusedTransformerBlock:
    """The weights of a block: of products in their dtype, as are biases that a product adds; other biases float32.

    Matrices are views of the layers' own memory as products take them, transposed.

    Attributes:
        heads: Heads of the attention.
        attention_input, attention_input_bias: [W, 3 W] and [3 W].
        attention_output, attention_output_bias: [W, W] and [W].
        expand, expand_bias: [W, hidden] and [hidden].
        contract, contract_bias: [hidden, W] and [W].
    """

    heads: int
    attention_input: Tensor
    attention_input_bias: Tensor
    attention_output: Tensor
    attention_output_bias: Tensor
    expand: Tensor
    expand_bias: Tensor
    contract: Tensor
    contract_bias: Tensor

    @classmethod
    def of(cls, block: TransformerBlock, dtype: torch.dtype) -> FusedTransformerBlock:
        """The weights of a block in float32."""
        on_gpu = block.attention_input.weight.device.type != "cpu"
        return cls(
            heads=block.heads,
            attention_input=block.attention_input.weight.to(dtype).t(),
            attention_input_bias=block.attention_input.bias.to(dtype),
            attention_output=block.attention_output.weight.to(dtype).t(),
            attention_output_bias=block.attention_output.bias,
            expand=block.mlp[0].weight.to(dtype).t(),
            expand_bias=block.mlp[0].bias.to(dtype) if on_gpu else block.mlp[0].bias,
            contract=block.mlp[2].weight.to(dtype).t(),
            contract_bias=block.mlp[2].bias,
        )

    def expand_tokens(self, x: Tensor, out: Tensor) -> None:
        """out <- gelu(x expand + bias), [N, hidden] of [N, W]."""
        if x.device.type == "cpu":
            torch.mm(x, self.expand, out=out)
            ops.bias_gelu_(out, self.expand_bias)
        else:  # in the product of cuBLAS, whose GELU is the one by tanh
            torch._addmm_activation(self.expand_bias, x, self.expand, use_gelu=True, out=out)


@dataclass(frozen=True, slots=True)
class TokenBuffers:
    """Activations, in the dtype of the products where nothing else is said.

    Attributes:
        tokens: float32 [views, P, W], the residual stream.
        normed: [views, P, W], what a norm gives and a product reads.
        product: [views, P, W], what a product gives and a norm adds to the stream.
        patches: [views, P, c p p], the first thing read and the last one written.
        wide: [views, P hidden], queries, keys and values, or the hidden layer.
        kept: [views, blocks P 2 W], keys and values of views that are computed once a trajectory; else [views, 0].
        x_cast: [views, D], the state x.
        model_output: [views, D], output of the network.
    """

    tokens: Tensor
    normed: Tensor
    product: Tensor
    patches: Tensor
    wide: Tensor
    kept: Tensor
    x_cast: Tensor
    model_output: Tensor

    def first(self, views: int) -> TokenBuffers:
        """The same memory for fewer views."""
        return TokenBuffers(*(getattr(self, field.name)[:views] for field in dataclasses.fields(self)))

    def wide_rows(self, rows: int, columns: int) -> Tensor:
        """The memory of ``wide`` as [rows, columns]."""
        return self.wide.flatten()[: rows * columns].view(rows, columns)


FORM = FusedTransformer
