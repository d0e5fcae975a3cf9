"""SHA-256 of many rows at once: what hashlib says, with and without the processor's own instructions."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dimvida import ops
from dimvida.ops import native

# Around the places where the length of the message no longer fits behind its end, and a picture.
LENGTHS = [0, 1, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 128, 12_288]


@pytest.mark.parametrize("simd", ["", "baseline"])
@pytest.mark.parametrize("length", LENGTHS)
def test_as_hashlib_says(length: int, simd: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "SIMD", simd)
    for count in (0, 1, 2, 5):
        rows = np.random.randint(0, 256, (count, length), np.uint8)
        assert ops.sha256_rows(rows) == [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]


@pytest.mark.skipif(native._native is None or not native._native.HAS_SHA256, reason="needs SHA instructions")
def test_hashlib_is_not_asked_where_the_processor_can(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native.hashlib, "sha256", None)
    assert (
        ops.sha256_rows(np.zeros((2, 0), np.uint8))
        == ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] * 2
    )


def test_rows_in_another_order_or_type_are_refused(monkeypatch: pytest.MonkeyPatch):
    for simd in ("", "baseline"):
        monkeypatch.setattr(native, "SIMD", simd)
        with pytest.raises(ValueError, match="C order"):
            ops.sha256_rows(np.zeros((4, 6), np.uint8)[:, ::2])
        with pytest.raises(ValueError, match="uint8"):
            ops.sha256_rows(np.zeros((4, 6), np.float32))
