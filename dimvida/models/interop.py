"""Weights of the public MLD implementation, loaded into this package's networks.

The names on the left are those of the MLD code's state dicts (Bounoua et al., 2024); only names and tensors
cross over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from dimvida.errors import InputError
from dimvida.models.autoencoder import Autoencoder, PoolingAutoencoder
from dimvida.models.config import AutoencoderConfig
from dimvida.models.score_network import ScoreNetwork

_SCORE_RULES = (
    (r"init_lin\.", "input."),
    (r"time_mlp\.", "time_embedding."),
    (r"downs\.(\d)\.0\.", r"down_blocks.\1."),
    (r"downs\.(\d)\.1\.(?:0\.)?", r"down_linears.\1."),
    (r"mid_block1\.", "mid_blocks.0."),
    (r"mid_block2\.", "mid_blocks.1."),
    (r"ups\.(\d)\.0\.", r"up_blocks.\1."),
    (r"ups\.(\d)\.1\.(?:0\.)?", r"up_linears.\1."),
    (r"final_res_block\.", "final_block."),
    (r"final_lin\.0\.", "output_norm."),
    (r"final_lin\.2\.", "output."),
)
_BLOCK_RULES = (
    (r"block([12])\.norm\.", r"norm\1."),
    (r"block([12])\.proj\.", r"linear\1."),
    (r"mlp\.1\.", "time."),
    (r"lin_layer\.", "skip."),
)
# The public network carries one layer that its forward pass never uses.
_SCORE_UNUSED = ("proj.weight", "proj.bias")

_ENCODER_RULES = (
    (r"conv_img_u\.", "encoder.0."),
    (r"resnet_u\.0\.", "encoder.1."),
    (r"resnet_u\.2\.", "encoder.3."),
    (r"resnet_u\.4\.", "encoder.5."),
    (r"fc_mu_u\.", "encoder.7."),
)
_DECODER_RULES = (
    (r"fc\.", "decoder.0."),
    (r"resnet\.0\.", "decoder.2."),
    (r"resnet\.2\.", "decoder.4."),
    (r"resnet\.4\.", "decoder.6."),
    (r"conv_img\.", "decoder.8."),
)
_CONV_RULES = ((r"conv_0\.", "conv1."), (r"conv_1\.", "conv2."), (r"conv_s\.", "shortcut."))

Rules = tuple[tuple[str, str], ...]


def mld_score_network(state_dict: Mapping[str, Tensor], views: int, groups: int) -> ScoreNetwork:
    """A ScoreNetwork with the weights of a public ``UnetMLP``.

    Args:
        state_dict: Names and tensors of the public implementation.
        views: Number of views (modalities) V.
        groups: Groups of its group norms, which the tensors do not tell.

    Raises:
        InputError: If names are missing or unknown, shapes do not fit, or values are not finite.
    """
    renamed = _rename({k: v for k, v in state_dict.items() if k not in _SCORE_UNUSED}, _SCORE_RULES, _BLOCK_RULES)
    try:
        width, size = renamed["input.weight"].shape
        time_dim, _ = renamed["time_embedding.0.weight"].shape
    except KeyError as error:
        raise InputError(f"not a public MLD score network: {error.args[0]} has no counterpart") from None
    except ValueError:
        raise InputError("not a public MLD score network: its first layers are no matrices") from None
    if views < 2 or size % views:
        raise InputError(f"MLD score network: latents of {size} numbers are not those of {views} views")
    if groups < 1 or width % groups:
        raise InputError(f"MLD score network: its width {width} is not a multiple of groups {groups}")
    network = ScoreNetwork(views, size // views, width, time_dim, groups)
    _load(network, renamed, "MLD score network")
    return network


def mld_autoencoder(encoder_state_dict: Mapping[str, Tensor], decoder_state_dict: Mapping[str, Tensor]) -> Autoencoder:
    """An Autoencoder with the weights of a public image encoder and decoder.

    Raises:
        InputError: If names are missing or unknown, shapes do not fit, or values are not finite.
    """
    renamed = _rename(encoder_state_dict, _ENCODER_RULES, _CONV_RULES)
    renamed |= _rename(decoder_state_dict, _DECODER_RULES, _CONV_RULES)
    try:
        base, channels = renamed["encoder.0.weight"].shape[:2]
        latent_dim, flat = renamed["encoder.7.weight"].shape
    except KeyError as error:
        raise InputError(f"not a public MLD image autoencoder: {error.args[0]} has no counterpart") from None
    except ValueError:
        raise InputError("not a public MLD image autoencoder: its layers have other dimensions") from None
    image_size = 4 * round((flat / (4 * base)) ** 0.5)
    autoencoder = PoolingAutoencoder(
        AutoencoderConfig("pooling", image_size=image_size, channels=channels, latent_dim=latent_dim, base=base)
    )
    _load(autoencoder, renamed, "MLD autoencoder")
    return autoencoder


def _rename(state_dict: Mapping[str, Tensor], prefixes: Rules, inner: Rules) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state_dict.items():
        for pattern, replacement in prefixes:
            new, count = re.subn("^" + pattern, replacement, name)
            if count:
                break
        else:
            raise InputError(f"unknown name {name!r} in a public MLD state dict")
        for pattern, replacement in inner:
            new = re.sub(pattern, replacement, new)
        renamed[new] = tensor
    return renamed


def _load(module: ScoreNetwork | Autoencoder, state: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in state.items():
        if not tensor.float().isfinite().all():
            raise InputError(f"{what}: {name} has values that are not finite (NaN or infinity)")
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{what}: {reason}") from None
