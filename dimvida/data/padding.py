"""Pictures in squares of their border's colour, also where such a square would not fit into memory."""

from __future__ import annotations

import numpy as np


def pad_to_square(pixels: np.ndarray) -> np.ndarray:
    """Centre ``[H, W, C]`` in a square of its longer edge, filled with its border's median colour."""
    height, width = pixels.shape[:2]
    if height == width:
        return pixels
    edge = max(height, width)
    square = np.empty((edge, edge, pixels.shape[2]), np.uint8)
    square[:] = _border_colour(pixels)
    top, left = (edge - height) // 2, (edge - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def reduced_square(pixels: np.ndarray, step: int) -> np.ndarray:
    """Means of ``pad_to_square(pixels)`` over blocks of ``step`` x ``step``, without making that square."""
    edge = max(pixels.shape[:2])
    sizes = np.minimum(step, edge - np.arange(0, edge, step))  # of the blocks along each axis; the last is smaller
    sums, inside, places = pixels, [], []
    for axis in sorted((0, 1), key=lambda axis: -pixels.shape[axis]):  # the longer first: less is left of it
        length = pixels.shape[axis]
        offset = (edge - length) // 2
        first, last = offset // step, (offset + length - 1) // step
        starts = np.maximum(np.arange(first, last + 1) * step - offset, 0)
        # Part by part: np.add.reduceat would first take 8 bytes for each number.
        parts = np.split(sums, starts[1:], axis=axis)
        sums = np.stack([part.sum(axis=axis, dtype=np.int64) for part in parts], axis=axis)
        inside.insert(axis, np.diff(starts, append=length))
        places.insert(axis, slice(first, last + 1))
    colour = _border_colour(pixels)
    square = np.empty((len(sizes), len(sizes), pixels.shape[2]), np.uint8)
    square[:] = colour
    rows, columns = places
    area = np.outer(sizes[rows], sizes[columns])[..., None]
    padding = (area - np.outer(*inside)[..., None]) * colour.astype(np.int64)
    square[rows, columns] = (sums + padding + area // 2) // area
    return square


def _border_colour(pixels: np.ndarray) -> np.ndarray:
    """The median colour, uint8 ``[C]``, of the outermost pixels; corners count twice."""
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    counts = np.stack([sum(_counts(edge[:, channel]) for edge in edges) for channel in range(pixels.shape[2])])
    middle = counts[0].sum() / 2  # always whole
    below = counts.cumsum(axis=1)
    low, high = (below >= middle).argmax(axis=1), (below > middle).argmax(axis=1)
    return np.round((low + high) / 2).astype(np.uint8)


def _counts(values: np.ndarray) -> np.ndarray:
    """How often each of 0 to 255 is in uint8 ``[N]``; in parts, because counting takes 8 bytes for each."""
    part = 1 << 20
    return sum(np.bincount(values[start : start + part], minlength=256) for start in range(0, len(values), part))
