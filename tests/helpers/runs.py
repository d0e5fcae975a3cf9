"""Short trainings on boxes, by ``dimvida train`` or without the command line; outputs of generate without a model."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch._dynamo
from helpers.commands import Result, command
from helpers.objects import SIZE, VIEWS, coloured_boxes
from PIL import Image

from dimvida.data.batch import MultiViewBatch
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Picture, Sample
from dimvida.generation.output import OutputFolder
from dimvida.generation.plan import cut_shards
from dimvida.generation.stats import GenerationReport, ShardStats
from dimvida.generation.storage import output_errors
from dimvida.generation.verify import recheck_files
from dimvida.models.checkpoint import WEIGHT_FILES
from dimvida.training.config import TrainConfig
from dimvida.training.control import ShowProgress
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.run import Run

# The paper's networks at a size at which a whole training of the lengths of the preset "tiny" takes a few seconds.
FAST = (
    "autoencoder.kind=pooling",
    f"autoencoder.image_size={SIZE}",
    "autoencoder.latent_dim=8",
    "autoencoder.base=8",
    "score.kind=mlp",
    "score.prediction=velocity",
    "score.width=32",
    "score.time_dim=16",
    "score.groups=4",
    "autoencoder_stage.steps=60",
    "autoencoder_stage.batch=16",
    "autoencoder_stage.log_every=10",
    "autoencoder_stage.save_every=25",
    "autoencoder_stage.sheet_every=0",
    "diffusion_stage.steps=120",
    "diffusion_stage.batch=16",
    "diffusion_stage.log_every=10",
    "diffusion_stage.save_every=50",
    "diffusion_stage.sheet_every=0",
)
SHORT = (*FAST, "autoencoder_stage.steps=30", "diffusion_stage.steps=60", "diffusion_stage.save_every=1000")

# The same lengths for a grid autoencoder and a view transformer of four tokens a view.
TRANSFORMER = (
    *(setting for setting in SHORT if "_stage." in setting),
    "autoencoder.kind=grid",
    f"autoencoder.image_size={SIZE}",
    "autoencoder.latent_channels=2",
    "autoencoder.base=8",
    "score.kind=transformer",
    "score.width=16",
    "score.depth=2",
    "score.heads=2",
    "score.patch=1",
    "score.time_dim=8",
    "autoencoder_stage.latent_noise=0.1",
)


def options(settings: tuple[str, ...] | list[str]) -> list[str]:
    """Settings as command line options."""
    return [part for setting in settings for part in ("--set", setting)]


def train(data: Path, out: Path, *arguments: str | Path) -> Result:
    """Train in about a second, in this process; arguments replace the usual settings."""
    return command("train", "--data", data, "--out", out, "--preset", "tiny", *options(SHORT), *arguments)


def weights(out: Path, folder: str = "checkpoint") -> list[bytes]:
    """The bytes of a run's weights, or of those in another folder of it."""
    return [(out / folder / name).read_bytes() for name in WEIGHT_FILES]


def curve(path: Path) -> list[dict[str, str]]:
    """A learning curve without its times."""
    with open(path) as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def assert_equal_runs(out: Path, other: Path) -> None:
    """The same curves, and the same bytes of weights in every checkpoint that is kept."""
    for stage in ("autoencoder", "diffusion"):
        assert curve(out / f"{stage}.csv") == curve(other / f"{stage}.csv")
    for folder in ("checkpoint", "best", *(f"steps/{path.name}" for path in (other / "steps").iterdir())):
        assert weights(out, folder) == weights(other, folder), folder


def has_reached(out: Path, stage: str, step: int) -> bool:
    """Whether the learning curve of a stage, which may not be there yet, has come to a step."""
    path = out / f"{stage}.csv"
    return path.exists() and int(curve(path)[-1]["step"]) >= step


def description(out: Path) -> dict:
    """A run's description of itself."""
    return json.loads((out / "run.json").read_text())


class StopAfter:
    """Asks the loop to stop once it has been asked that many times whether to."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def no_progress(work: str, total: int, unit: str, done: int, later: float = 0.0) -> ShowProgress:
    """Shows nothing of a training."""
    return lambda done, note="": None


OBJECTS = 40
SHARD_SHAPE = (4, 4, 3)


def run(
    out: Path,
    config: TrainConfig,
    data: TrainingData,
    *,
    stop=10**9,
    stage="all",
    resume=False,
    init=None,
    watch=no_progress,
) -> bool:
    return Run(out, config, data, torch.device("cpu"), watch, StopAfter(stop), init).train(stage, resume)


def absent_views_leave_no_trace(folder: Path, config: TrainConfig, make: Callable[[], TrainingData]) -> bool:
    """Whether data whose absent views are black, and then gray, train the same weights."""
    for name, level in (("black", 0), ("gray", 77)):
        data = make()
        data.images[~data.present] = level
        assert run(folder / name, config, data)
    return weights(folder / "black") == weights(folder / "gray")


def with_stage(config: TrainConfig, name: str, **values: object) -> TrainConfig:
    stage = dataclasses.replace(getattr(config, f"{name}_stage"), **values)
    return dataclasses.replace(config, **{f"{name}_stage": stage})


def batch_of(known: torch.Tensor) -> MultiViewBatch:
    objects, views = known.shape
    images = torch.from_numpy(coloured_boxes(objects)).permute(0, 1, 4, 2, 3)[:, :views].contiguous()
    images[~known] = 0
    ids = tuple(f"box/{number}" for number in range(objects))
    return MultiViewBatch(images, known, torch.zeros(objects, dtype=torch.int64), ids, VIEWS[:views])


def prepared(known: torch.Tensor, config: TrainConfig) -> TrainingData:
    return prepare_data(batch_of(known), ("box",), config, {})


def complete(objects: int = OBJECTS) -> torch.Tensor:
    return torch.ones(objects, 4, dtype=torch.bool)


def partly(objects: int = OBJECTS) -> torch.Tensor:
    """The first ten objects are complete; of the others each lacks a view or two, and the last has only one."""
    known = complete(objects)
    for number in range(10, objects):
        known[number, number % 4] = False
        known[number, (number // 4) % 4] = False
    known[-1] = torch.tensor([False, True, False, False])
    return known


def _configuration(form: str, seed: int = 0) -> dict:
    return {
        **{"seed": seed, "format": form, "objects": 6, "samples_per_view": 1, "shard_size": 2, "left_out": {}},
        **{"view_names": ["front", "left"], "classes": ["chair"], "include_known": False, "image_size": 4},
        **{"image_format": "png", "quality": None, "checkpoint": "c0", "plan": "9a", "solver": "ddim", "steps": 1},
        **{"dtype": "float32", "backend": "eager", "device": "cpu", "version": "0"},
    }


def draw() -> bytes:
    """The picture of a card."""
    return b"a contact sheet"


def _samples(number: int) -> list[Sample]:
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
        self.output = OutputFolder(folder, _configuration(form, seed), cut_shards(6, 2), **options)

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
                    writer = FORMATS[self.form](
                        self.output.folder, shard.stem, SHARD_SHAPE, _configuration(self.form), 2
                    )
                    pictures = b"".join(picture.data for sample in _samples(number) for picture in sample.pictures)
                    array = np.frombuffer(pictures, np.uint8).reshape(2, *SHARD_SHAPE)
                    writer.add(array, [writer.lay_out(_samples(number), 0)])
                    if stop == "commit" and number == numbers[-1]:
                        return None
                    files = writer.commit()
                if stop == "stats" and number == numbers[-1]:
                    return None
                self.output.add(ShardStats(number, self.output.hash, 2, 2, 2, files))
            return self.output.finish(draw) if finish else None
        finally:
            self.output.close()


def write_output(
    folder: Path, classes: Mapping[str, Sequence[str]], *, include_known: bool = True, size: int = 16
) -> Path:
    """An image folder with the views of objects, by class; the front ones were given. Each picture has a colour."""
    lines, colours = [], np.random.default_rng(0)
    for place, (class_name, names) in enumerate(classes.items()):
        (folder / f"class{place}").mkdir(parents=True)
        for name in names:
            for view in VIEWS if include_known else VIEWS[1:]:
                file = f"class{place}/{name}__{view}.png"
                colour = tuple(colours.integers(0, 256, 3).tolist())
                Image.new("RGB", (size, size), colour).save(folder / file)
                kind = "real" if view == "front" else "generated"
                line = {"file_name": file, "source": f"{class_name}/{name}", "view": view, "kind": kind}
                lines.append({**line, "label": class_name, "known": ["front"]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    configuration = {
        "version": "0.1.0", "checkpoint": "ab" * 32, "view_names": list(VIEWS), "image_size": size, "steps": 5,
        "solver": "ddim", "seed": 0, "include_known": include_known, "format": "imagefolder",
    }  # fmt: skip
    generation = {"schema": 2, "hash": "0", "configuration": configuration}
    (folder / "generation.json").write_text(json.dumps(generation), encoding="utf-8")
    count = sum(map(len, classes.values()))
    report = {
        "configuration": "0",
        "objects": count,
        "views_generated": 3 * count,
        "objects_left_out": {"all of its views are known": 2},
        "files_left_out": [{"file": "stray.png", "reason": "beside the classes"}],
        "skipped_files": 1,
        "skipped": [{"file": "<b>bad</b>.png", "reason": "damaged <i>or</i> truncated", "source": "chair/bad"}],
        "notes": [{"note": "resized to 16 x 16", "images": 7, "first": "a.png"}],
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder
