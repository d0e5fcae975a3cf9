"""What a chain has done so far: ``reproduce.json`` in its folder."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimvida._version import __version__
from dimvida.errors import InputError
from dimvida.files import atomic_write, exclusive_folder
from dimvida.training.folder import not_read

FILE = "reproduce.json"
SCHEMA = 1

_UNFINISHED = re.compile(r"\.(reproduce|partition)\.\w{8}\.json")  # names of dimvida.files.atomic_path


@dataclass(slots=True)
class State:
    """A chain's state.

    Attributes:
        folder: The chain's folder.
        configuration: What it was begun with.
        command: How it was begun.
        plan: Lengths of its stages, if they were measured.
        stages: Entries of the stages, by name: command, folder, finished, minutes.
    """

    folder: Path
    configuration: dict[str, Any]
    command: list[str]
    plan: dict[str, Any] | None = None
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def finished(self, stage: str) -> bool:
        """Whether a stage is done."""
        return bool(self.stages.get(stage, {}).get("finished"))

    def record(self, stage: str, command: Sequence[str], folder: str, *, finished: bool, seconds: float) -> None:
        """Write down that a stage begins, or that it took so much longer."""
        minutes = self.stages.get(stage, {}).get("minutes", 0.0) + seconds / 60
        self.stages[stage] = {
            "command": ["dimvida", *command],
            "folder": folder,
            "finished": finished,
            "minutes": round(minutes, 2),
        }
        self.save()

    def save(self) -> None:
        """Write it, atomically."""
        content = {
            "schema": SCHEMA,
            "kind": "reproduction",
            "command": self.command,
            "versions": {"dimvida": __version__, "python": platform.python_version()},
            "configuration": self.configuration,
            "plan": self.plan,
            "stages": [{"name": name, **entry} for name, entry in self.stages.items()],
        }
        atomic_write(self.folder / FILE, json.dumps(content, indent=1) + "\n")


def load_state(folder: Path, configuration: dict[str, Any], command: Sequence[str]) -> State:
    """The state of the chain in a folder, a new one if there is none.

    Raises:
        InputError: The folder holds something else, or a chain of another configuration.
    """
    try:
        content = json.loads((folder / FILE).read_bytes())
        found = State(
            folder,
            content["configuration"],
            content["command"],
            content["plan"],
            {
                entry["name"]: {name: value for name, value in entry.items() if name != "name"}
                for entry in content["stages"]
            },
        )
    except FileNotFoundError:
        _require_free(folder)
        return State(folder, configuration, list(command))
    except OSError as error:
        raise not_read(folder / FILE, error) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{folder / FILE}: damaged; choose another --out") from None
    different = [name for name in configuration if found.configuration.get(name) != configuration[name]]
    if different:
        name = different[0]
        raise InputError(
            f"{folder} was begun with another {name}: {found.configuration.get(name)!r}, not {configuration[name]!r}; "
            "repeat its options, or give another --out"
        )
    return found


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make the folder, keep other processes out, and remove what a killed one left half written.

    Raises:
        InputError: Another process works here, or the folder cannot be made.
    """
    with exclusive_folder(folder, "another process works here; wait for it, or choose another --out"):
        for path in folder.glob(".*"):
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)
        yield


def _require_free(folder: Path) -> None:
    if folder.is_dir() and any(not _UNFINISHED.fullmatch(path.name) for path in folder.iterdir()):
        raise InputError(f"{folder}: not empty, and not a folder of dimvida reproduce; choose another --out")
