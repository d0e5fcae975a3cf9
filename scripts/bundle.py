"""Make the checkpoint in the package of a trained one: ``python scripts/bundle.py runs/mine --views front,left``.

A model that is conditioned on cameras needs no names for most of the views that it was trained on: it keeps a few, and
where it was trained on others stands in ``trained_cameras``. Weights become float16.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from dimvida.data.names import check_view_name
from dimvida.diffusion.solvers import step_table
from dimvida.errors import InputError
from dimvida.models.checkpoint import BUNDLED, CheckpointConfig, load_checkpoint, save_checkpoint

LARGEST = 24_000_000
"""Bytes of the checkpoint in the package, at most."""


def with_names(config: CheckpointConfig, names: list[str]) -> CheckpointConfig:
    """A configuration in which only some of the views have names.

    Args:
        config: The trained checkpoint's.
        names: Views that keep their names, or ``new=old``.

    Raises:
        InputError: It is not conditioned on cameras, or has no view of a name.
    """
    if config.cameras is None:
        raise InputError("--views: the checkpoint knows its views by their names")
    cameras = dict(zip(config.view_names, config.cameras, strict=True))
    pairs = [[part.strip() for part in name.split("=")] for name in names]
    for name, pair in zip(names, pairs, strict=True):
        if len(pair) > 2 or not all(pair):
            raise InputError(f"--views {name!r}: expected a view or NEW=OLD")
        if pair[-1] not in cameras:
            raise InputError(f"--views {pair[-1]}: the checkpoint has no such view; it has {', '.join(cameras)}")
        check_view_name(pair[0], "--views")
    new, old = (tuple(pair[end] for pair in pairs) for end in (0, -1))
    for named in (new, old):
        if twice := [name for name in named if named.count(name) > 1]:
            raise InputError(f"--views {twice[0]}: is there twice")
    trained = config.trained_cameras or config.cameras
    placed = tuple(cameras[name] for name in old)
    return dataclasses.replace(config, view_names=new, cameras=placed, trained_cameras=trained)


def main(arguments: list[str]) -> int:
    """The script; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a checkpoint, or a run that holds one")
    parser.add_argument("--views", metavar="LIST", help="views that keep their names or get one (NEW=OLD), in order")
    parser.add_argument("--solver", help="default solver")
    parser.add_argument("--steps", type=int, help="default network evaluations")
    parser.add_argument("--out", type=Path, default=BUNDLED, help="default: the package's own")
    asked = parser.parse_args(arguments)
    checkpoint = load_checkpoint(asked.checkpoint)
    config = checkpoint.config
    if asked.views is not None:
        config = with_names(config, asked.views.split(","))
    chosen = {name: value for name in ("solver", "steps") if (value := getattr(asked, name)) is not None}
    sampling = dataclasses.replace(config.sampling, **chosen)
    step_table(sampling.solver, sampling.steps)  # raises before anything is replaced
    checkpoint.config = dataclasses.replace(config, sampling=sampling)
    save_checkpoint(asked.out, checkpoint, torch.float16)
    size = sum(path.stat().st_size for path in asked.out.iterdir())
    print(f"{asked.out}: {size / 1e6:.1f} MB, views {', '.join(checkpoint.config.view_names)}")
    return int(size > LARGEST)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
