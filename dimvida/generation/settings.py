"""How a run generates: everything that changes a byte of its output, resolved before the first one is made.

``generation.json`` says it, and another run into the same folder must say the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from dimvida._version import __version__
from dimvida.diffusion.solvers import step_table
from dimvida.errors import InputError, require_choice
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.columns import SUFFIX_OF_FORMAT
from dimvida.generation.plan import GenerationPlan, default_shard_size
from dimvida.generation.storage import Place
from dimvida.records import from_json
from dimvida.results.files import GenerationConfiguration
from dimvida.sampling.backends import DTYPES, resolve_dtype
from dimvida.sampling.loop import SEED_LIMIT, backend_of
from dimvida.sampling.multiview import MultiViewModel

AUTO_BATCH = 256
QUALITY = 90
"""Of JPEG and WebP, unless another one is asked for."""

CONFIGURATION = GenerationConfiguration.file
# What differs where a configuration holds a hash, which tells nobody anything.
_DIGESTS = {
    "checkpoint": "of another checkpoint",
    "plan": "of other inputs, or of other known or missing views",
    "cameras": "of views that are seen from elsewhere",
    "files_left_out": "other files of the input cannot be read",
}


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Options with nothing left open.

    Attributes:
        steps: Network evaluations of a trajectory.
        solver: Name of a solver, one of ``dimvida.diffusion.solvers.SOLVERS``.
        seed: Seed of the noise.
        batch: Rows per batch. The last bit of a pixel may depend on it.
        backend: ``eager`` or ``fused``.
        device: Kind of device, such as ``cpu``.
        dtype: What the score network computes in.
        include_known: Write the known views too.
        format: Form of the output, one of ``dimvida.generation.formats.FORMATS``.
        image_format: ``png``, ``jpeg`` or ``webp``; None where pixels are written.
        quality: Quality of JPEG and WebP, else None.
        shard_size: Rows of a shard.
    """

    steps: int
    solver: str
    seed: int
    batch: int
    backend: str
    device: str
    dtype: str
    include_known: bool
    format: str
    image_format: str | None
    quality: int | None
    shard_size: int

    @property
    def torch_dtype(self) -> torch.dtype:
        """``dtype`` as torch has it."""
        return getattr(torch, self.dtype)

    @property
    def sampling(self) -> dict[str, Any]:
        """The arguments of ``MultiViewModel.generate`` that they are."""
        return {
            "steps": self.steps,
            "solver": self.solver,
            "seed": self.seed,
            "backend": self.backend,
            "dtype": self.torch_dtype,
        }


def resolve_settings(
    model: MultiViewModel,
    *,
    steps: int | None = None,
    solver: str | None = None,
    seed: int = 0,
    batch: int | None = None,
    backend: str = "auto",
    dtype: str = "auto",
    include_known: bool = False,
    format: str = "imagefolder",
    image_format: str | None = None,
    quality: int | None = None,
    shard_size: int | None = None,
) -> GenerationSettings:
    """Fill what is open from the checkpoint and the machine.

    ``batch`` None takes ``AUTO_BATCH``; ``shard_size`` None takes whole batches, 1024 rows or somewhat more.

    Raises:
        InputError: For an unknown solver, backend, dtype or form, or a number out of range.
    """
    defaults = model.config.sampling
    solver = defaults.solver if solver is None else solver
    steps = defaults.steps if steps is None else steps
    step_table(solver, steps)  # raises for what it cannot do
    if not 0 <= seed < SEED_LIMIT:
        raise InputError(f"--seed {seed}: must be between 0 and 2^63 - 1")
    batch = AUTO_BATCH if batch is None else batch
    if batch < 1:
        raise InputError(f"--batch {batch}: must be at least 1")
    if shard_size is not None and shard_size < 1:
        raise InputError(f"--shard-size {shard_size}: must be at least 1")
    device = model.device
    backend = backend_of(model.score, backend, device)
    chosen = resolve_dtype(_parse_dtype(dtype), backend, device)
    return GenerationSettings(
        steps=steps,
        solver=solver,
        seed=seed,
        batch=batch,
        backend=backend,
        device=device.type,
        dtype=str(chosen).removeprefix("torch."),
        include_known=include_known,
        format=format,
        **_image_options(format, image_format, quality),
        shard_size=shard_size or default_shard_size(batch),
    )


def _image_options(format: str, image_format: str | None, quality: int | None) -> dict[str, Any]:
    require_choice("--format", format, FORMATS)
    if (package := FORMATS[format].package) and find_spec(package) is None:
        raise InputError(f"--format {format}: needs {package}; pip install 'dimvida[{format}]'")
    if FORMATS[format].arrays:
        if image_format is not None or quality is not None:
            raise InputError(f"--format {format}: holds pixels; leave out --image-format and --quality")
        return {"image_format": None, "quality": None}
    image_format = image_format or "png"
    _check_image_options(image_format, quality)
    return {"image_format": image_format, "quality": None if image_format == "png" else quality or QUALITY}


def _check_image_options(image_format: str, quality: int | None) -> None:
    """Raise InputError for an unknown format, or a quality that is none."""
    require_choice("--image-format", image_format, SUFFIX_OF_FORMAT)
    if quality is not None and image_format == "png":
        raise InputError(f"--quality {quality}: PNG has none; choose --image-format jpeg or webp")
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"--quality {quality}: must be between 1 and 100")


def _parse_dtype(name: str) -> torch.dtype | None:
    dtypes = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}
    if name != "auto" and name not in dtypes:
        raise InputError(f"unknown dtype {name!r}: choose from auto, {', '.join(dtypes)}")
    return dtypes.get(name)


def run_configuration(model: MultiViewModel, plan: GenerationPlan, settings: GenerationSettings) -> dict[str, Any]:
    """What ``generation.json`` says: two runs with equal configurations write the same bytes."""
    cameras = plan.written_cameras(settings.include_known)
    return {
        "version": __version__,
        "checkpoint": model.checkpoint_hash,
        "view_names": list(plan.view_names),
        "image_size": model.image_size,
        "objects": len(plan.tasks),
        "samples_per_view": plan.draws,
        "plan": plan.digest(),
        "left_out": dict(plan.left_out),
        # Not in the configuration of an input without any, so that its output stays the same.
        **({"files_left_out": plan.files_left_out} if plan.files_left_out else {}),
        # Nor of a model without cameras.
        **({"cameras": {view: dataclasses.asdict(at) for view, at in cameras.items()}} if cameras else {}),
        **dataclasses.asdict(settings),
        "classes": list(plan.source.classes if FORMATS[settings.format].numbered_classes else plan.classes),
    }


def configuration_hash(configuration: dict[str, Any]) -> str:
    """Hex SHA-256 of the canonical form."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def read_configuration(path: Place) -> dict[str, Any]:
    """Read a ``generation.json``.

    Raises:
        InputError: It cannot be read, or is damaged.
    """
    try:
        content = from_json(GenerationConfiguration, json.loads(path.read_bytes()), str(path))
        if content.hash != configuration_hash(content.configuration):
            raise ValueError
        return content.configuration
    except OSError as error:  # which says nothing of what is in it
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); nothing was changed, and once it can be read "
            "the same command continues"
        ) from error
    except (ValueError, InputError, RecursionError):
        raise InputError(f"{path}: damaged; choose another --out, or remove the folder") from None


def check_same(folder: Place, stored: Mapping[str, Any], configuration: Mapping[str, Any]) -> None:
    """Raise InputError, naming the first difference, unless two configurations are equal."""
    for key in {**configuration, **stored}:
        before, now = stored.get(key), configuration.get(key)
        if before != now:
            raise InputError(
                f"{folder}: holds the output of another configuration ({_difference(key, before, now)}); "
                "choose another --out, or give --overwrite"
            )


def _difference(key: str, before: Any, now: Any) -> str:
    if key == "classes":
        if before is None:
            return "of another version of dimvida"
        name = min(set(before) ^ set(now))
        return f"its classes number the labels, and {name!r} was {'among' if name in before else 'not among'} them"
    return _DIGESTS.get(key, f"{key} was {before}, is {now}")
