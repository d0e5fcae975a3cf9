"""Kept tensors: the same when they are read again, and nothing else ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dimvida.training.state import keep, kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bfloat16])
def test_what_was_kept_is_read_again(tmp_path: Path, dtype: torch.dtype):
    tensor = torch.arange(24).view(4, 6).to(dtype)[:, ::2]
    keep(tmp_path / "t", "rows", tensor, "mine")
    read = kept(tmp_path / "t", "rows", "mine")
    assert read is not None and read.dtype == dtype and torch.equal(read, tensor)
    assert kept(tmp_path / "t", "rows", "other") is None
    assert kept(tmp_path / "t", "columns", "mine") is None
    assert kept(tmp_path / "none", "rows", "mine") is None


def test_no_flipped_bit_and_no_cut_is_taken_for_it(tmp_path: Path):
    path, tensor = tmp_path / "t", torch.rand(3, 2)
    keep(path, "rows", tensor, "mine")
    content = path.read_bytes()
    damaged = [content[:place] for place in range(0, len(content), 7)]
    damaged += [
        content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        for place in range(len(content))
    ]
    for other in damaged:
        path.write_bytes(other)
        read = kept(path, "rows", "mine")
        assert read is None or torch.equal(read, tensor)  # a blank of the header may be another one
