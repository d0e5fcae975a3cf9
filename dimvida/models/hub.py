"""Models on the Hugging Face Hub: their folder, fetched once into its cache, and the card that one is uploaded with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.models.checkpoint import CheckpointConfig

SCHEME = "hf://"
CARD = "README.md"

_ADDRESS = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(.+))?", re.ASCII)
_FORM = "hf://owner/name, or hf://owner/name@revision"


def hub_snapshot(address: str, files: tuple[str, ...]) -> Path:
    """The folder of a model's files in the cache of huggingface_hub, where they are brought to if need be.

    Its environment variables count: ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_TOKEN``.
    Without a network, what the cache has of that revision serves.

    Args:
        address: ``hf://owner/name``, of the branch main, or ``hf://owner/name@revision``: a branch, tag or commit.
        files: Names of the files to bring, and nothing else; without the first, it is no model.

    Raises:
        InputError: It is no such address, huggingface_hub is missing, there is no such model or revision or no access
            to it, it has no such file, or the Hub cannot be reached and the cache has no such revision.
    """
    found = _ADDRESS.fullmatch(address.removeprefix(SCHEME))
    if found is None:
        raise InputError(f"{address}: no address of a model; one is {_FORM}")
    name, revision = found.groups()
    try:
        from huggingface_hub import constants, errors, snapshot_download
    except ImportError:
        raise InputError(f"{address}: huggingface_hub is not installed; pip install 'dimvida[hub]'") from None
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except errors.RevisionNotFoundError:
        raise InputError(f"{address}: {name} has no revision {revision or 'main'!r}") from None
    except (errors.RepositoryNotFoundError, errors.GatedRepoError):
        raise InputError(
            f"{address}: the Hub has no such model, or does not show it to you; for a private one, HF_TOKEN or "
            "`hf auth login` says who you are"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        kept = f"and {constants.HF_HUB_CACHE} holds no whole copy of {name} at {revision or 'main'!r}"
        if constants.HF_HUB_OFFLINE:
            raise InputError(f"{address}: HF_HUB_OFFLINE is set, {kept}") from None
        reason = _first_line(error.__cause__ or error)
        raise InputError(f"{address}: the Hub cannot be reached ({reason}), {kept}") from None
    except Exception as error:  # of its HTTP library, of the disk, of what the server says: all end here
        raise InputError(f"{address}: cannot be fetched ({_first_line(error)})") from error
    if not (folder / files[0]).exists():
        raise InputError(f"{address}: not a model of dimvida: it has no {files[0]}")
    return folder


def model_card(config: CheckpointConfig) -> str:
    """A README.md for the Hub: a YAML header, what the model takes and makes, and how it is used.

    It depends on nothing but the configuration.
    """
    size, channels = config.autoencoder.image_size, config.autoencoder.channels
    views = ", ".join(map(_quoted, config.view_names))
    shape = f"{size} x {size} pixels, {'RGB' if channels == 3 else 'gray'}"
    cameras = "" if config.cameras is None else " It knows cameras, so it makes views at any other angles, too."
    classes = f"Objects of {len(config.classes)} classes: {', '.join(map(_quoted, config.classes))}."
    about = [f"Completes the views of an object: {views} ({shape}).{cameras}"]
    if config.classes:
        about.append(classes)
    data = config.provenance.get("data")
    if isinstance(data, dict) and type(data.get("objects")) is int:
        about.append(f"Trained on {data['objects']:,} objects.")
    about += filter(None, (_trained(stage, config.provenance.get(stage)) for stage in ("autoencoder", "diffusion")))
    made = f"uint8 [1, {len(config.view_names)}, {channels}, {size}, {size}]"
    sampling, newline = config.sampling, "\n"
    return f"""---
library_name: dimvida
pipeline_tag: image-to-image
tags:
- multi-view
- data-augmentation
- diffusion
---

# A multi-view model for dimvida

{newline.join(about)}

```python
import dimvida
from PIL import Image

model = dimvida.load("hf://OWNER/NAME")  # this repository, or the path of this folder
completed = model(Image.open("object.png"), {config.view_names[0]!r})  # {made}
```

By default it samples with `{sampling.solver}` in {sampling.steps} evaluations of its network. `config.json` has its
sizes, where its weights come from (`provenance`) and the SHA-256 of each file of weights. Those are safetensors, and
nothing here is code.
"""


def _trained(stage: str, account: object) -> str | None:
    """How a stage was trained; None where its provenance does not say so, as that of earlier versions."""
    match account:
        case {"steps": int(steps), "batch": int(batch), "optimizer": str(optimizer), "lr_schedule": str(schedule)}:
            how = f"{steps:,} steps of {batch:,} with {_quoted(optimizer)}, learning rate {_quoted(schedule)}"
            return f"Training of the {stage}: {how}."
    return None


def _quoted(name: str) -> str:
    """A name as Markdown shows it, whatever it is made of."""
    return "`" + " ".join(name.split()).replace("`", "'") + "`"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".removesuffix(": ")
