"""Runs ``dimvida train`` on boxes, and reads what a training leaves behind."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from boxes import FAST

from dimvida.cli.app import run
from dimvida.models.checkpoint import WEIGHT_FILES

SHORT = (*FAST, "autoencoder_stage.steps=30", "diffusion_stage.steps=60", "diffusion_stage.save_every=1000")


@dataclass(frozen=True)
class Result:
    """One command's end."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on standard error that report an error."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]


def command(*arguments: str | Path) -> Result:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def options(settings: tuple[str, ...] | list[str]) -> list[str]:
    """Settings as command line options."""
    return [part for setting in settings for part in ("--set", setting)]


def train(data: Path, out: Path, *arguments: str | Path) -> Result:
    """Train in about a second, in this process; arguments replace the usual settings."""
    return command("train", "--data", data, "--out", out, "--preset", "tiny", *options(SHORT), *arguments)


def weights(out: Path) -> list[bytes]:
    """The bytes of a run's weights."""
    return [(out / "checkpoint" / name).read_bytes() for name in WEIGHT_FILES]


def curve(path: Path) -> list[dict[str, str]]:
    """A learning curve without its times."""
    with open(path) as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


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
