"""Shards as ``dimvida generate`` writes them, or nearly so, and what damage does to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from helpers.tables import write_tar

from dimvida.data.opening import open_source
from dimvida.errors import InputError


def tar_shard(folder: Path, members: dict[str, bytes], number: int = 0, **options: Any) -> Path:
    """A shard of these members, see ``write_tar``."""
    return write_tar(folder / f"shard-{number:06d}.tar", members, **options)


def array_shard(folder: Path, array: np.ndarray, lines: list[dict], number: int = 0) -> Path:
    """A shard of these pictures and lines."""
    path = folder / f"shard-{number:06d}.npy"
    np.save(path, array)
    path.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def damaged(data: bytes, seed: int) -> bytes:
    """The same with up to eight other bytes, every third time cut short."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    # Most of a file is pixels or zeros; what matters comes early.
    reach = len(data) if seed % 4 == 0 else min(len(data), 600)
    for place in rng.integers(0, reach, rng.integers(1, 9)):
        changed[place] = rng.integers(0, 256)
    return bytes(changed[: rng.integers(1, len(data))] if seed % 3 == 0 else changed)


def check_damaged(path: Path) -> None:
    """Read everything that opens; whatever is raised must name the shard or its list."""
    try:
        source = open_source(path.parent)
        for index, record in enumerate(source.records):
            for view in record.views:
                source.read_view(index, view)
    except InputError as error:
        assert path.stem in str(error)
        str(error).encode()
