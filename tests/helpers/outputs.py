"""Outputs of ``dimvida generate``, written without a model: three shards of two samples each."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Picture, Sample
from dimvida.generation.output import OutputFolder
from dimvida.generation.plan import cut_shards
from dimvida.generation.stats import GenerationReport, ShardStats
from dimvida.generation.storage import output_errors
from dimvida.generation.verify import recheck_files

SHAPE = (4, 4, 3)


def configuration(form: str, seed: int = 0) -> dict:
    return {
        **{"seed": seed, "format": form, "objects": 6, "samples_per_view": 1, "shard_size": 2, "left_out": {}},
        **{"view_names": ["front", "left"], "classes": ["chair"], "include_known": False, "image_size": 4},
        **{"image_format": "png", "quality": None, "checkpoint": "c0", "plan": "9a", "solver": "ddim", "steps": 1},
        **{"dtype": "float32", "backend": "eager", "device": "cpu", "version": "0"},
    }


def draw() -> bytes:
    """The picture of a card."""
    return b"a contact sheet"


def samples(number: int) -> list[Sample]:
    found = []
    for letter in "ab":
        data = f"{number}{letter}".encode() * 24
        sha256 = hashlib.sha256(data).hexdigest()
        line = f'"source": "{letter}", "view": "left", "label": "chair", "sha256": "{sha256}"'
        found.append(Sample(f"chair/{number}{letter}", 0, [Picture("left", data, sha256, line)]))
    return found


class Writer:
    """Writes shards of two samples each, without a model."""

    def __init__(self, folder: Path, form: str = "imagefolder", seed: int = 0, **options) -> None:
        self.form = form
        self.output = OutputFolder(folder, configuration(form, seed), cut_shards(6, 2), **options)

    def write(self, *numbers: int, finish: bool = False, stop: str | None = None) -> GenerationReport | None:
        """Write shards that are not there; ``stop`` leaves the last one before its commit or its stats."""
        self.output.open("job")
        try:
            for number in numbers:
                shard = self.output.shards[number]
                recheck_files(self.output, shard)
                if self.output.stats(shard) is not None:
                    continue
                with output_errors(self.output.folder):
                    writer = FORMATS[self.form](self.output.folder, shard.stem, SHAPE, configuration(self.form), 2)
                    pictures = b"".join(picture.data for sample in samples(number) for picture in sample.pictures)
                    array = np.frombuffer(pictures, np.uint8).reshape(2, *SHAPE)
                    writer.add(array, [writer.lay_out(samples(number), 0)])
                    if stop == "commit" and number == numbers[-1]:
                        return None
                    files = writer.commit()
                if stop == "stats" and number == numbers[-1]:
                    return None
                self.output.add(ShardStats(number, self.output.hash, 2, 2, 2, files))
            return self.output.finish(draw) if finish else None
        finally:
            self.output.close()
