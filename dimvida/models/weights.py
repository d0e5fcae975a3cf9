"""Files of weights. Those of a checkpoint are JSON and safetensors, looked at before memory is asked for.

No pickle is ever loaded from a checkpoint, and of one that users give (``read_state_dict``) nothing but tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from dimvida.errors import InputError

JSON_LIMIT = 16 * 2**20
"""Most bytes of a description."""

_FLOATS = ("F16", "BF16", "F32", "F64")
# A zip (torch.save) or a bare pickle protocol marker: loading either could run code.
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def user_path(path: str | Path) -> Path:
    """A path with ``~`` and ``~name`` in front replaced by that user's folder."""
    return Path(os.path.expanduser(path))


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """A regular file, open for reading; never waits, as for a pipe that nobody writes to.

    Raises:
        InputError: It cannot be read, or is something else than a file.
    """
    try:
        _require_regular(path, os.stat(path).st_mode)
        # Not blocking, and looked at again: it may have become something else.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _require_regular(path, os.fstat(file.fileno()).st_mode)
            yield file
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """The content of a regular file.

    Raises:
        InputError: As ``open_regular``, or it has more than ``limit`` bytes.
    """
    with open_regular(path) as file:
        data = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(data) > limit:
        raise InputError(f"{path}: has more than {limit} bytes, which no description needs")
    return data


def parse_json(data: bytes, path: Path) -> Any:
    """What a description says.

    Raises:
        InputError: It is not JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise InputError(f"{path}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def pack_weights(state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> bytes:
    """The bytes of a safetensors file, floating-point tensors as ``dtype`` unless that is None."""
    tensors = {}
    for name, tensor in state.items():
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        tensors[name] = tensor.detach().to("cpu", wanted).contiguous()
    return save(tensors)


def exact_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The narrowest of float16, bfloat16, float32 and float64 in which floating-point tensors stay what they are.

    Raises:
        InputError: One of them has values that are not finite in float32, which no checkpoint can hold.
    """
    exact = [torch.float16, torch.bfloat16, torch.float32]
    for tensor in tensors:
        if tensor.is_floating_point():
            if not tensor.float().isfinite().all():
                raise InputError("weights hold values that are not finite (NaN or infinity) in float32")
            exact = [dtype for dtype in exact if torch.equal(tensor.to(dtype).to(tensor.dtype), tensor)]
    return exact[0] if exact else torch.float64


def tensors_of(build: Callable[[], nn.Module], path: Path) -> dict[str, Tensor]:
    """Names and shapes of the tensors of the modules that ``build`` makes, without memory for them.

    Args:
        build: Makes the modules whose tensors are described.
        path: The description that the sizes come from, for the message.

    Returns:
        Tensors on the device ``meta``.

    Raises:
        InputError: There can be no network of these sizes.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            module = build()
    except (RuntimeError, OverflowError, TypeError, ValueError):
        raise InputError(f"{path}: there can be no network of these sizes") from None
    return module.state_dict()


def read_weights(
    path: Path, expected: Mapping[str, Tensor], description: str, sha256: Sequence[str] | None = None
) -> bytes:
    """A safetensors file, its header compared with what is expected before the rest is read.

    Args:
        path: The safetensors file to read.
        expected: What it must hold, see ``tensors_of``.
        description: Name of the file that says so.
        sha256: The SHA-256, hex, that it may have; None where nobody wrote one down.

    Raises:
        InputError: It cannot be read, is damaged, or holds something else.
    """
    _check_header(path, expected, description)
    data = read_regular(path)
    if sha256 is not None and hashlib.sha256(data).hexdigest() not in sha256:
        raise InputError(f"{path}: damaged: not the weights that {description} was written for")
    return data


def read_state_dict(path: Path, option: str = "") -> dict[str, Tensor]:
    """Named tensors of a file that somebody else made, on the CPU.

    Args:
        path: A safetensors file by its suffix, else what ``torch.save(module.state_dict())`` wrote.
        option: The option that names it, for the message.

    Raises:
        InputError: There is no such file, it holds something else, or values that are not finite.
    """
    where = f"{option} {path}".strip()
    try:
        with open_regular(user_path(path)) as file:
            safe = path.suffix == ".safetensors"
            state = load(file.read()) if safe else torch.load(file, map_location="cpu", weights_only=True)
    except InputError as error:
        raise InputError(f"{option} {error}".strip()) from None
    except SafetensorError as error:
        raise InputError(f"{where}: cannot be read ({_short(error)})") from None
    except Exception:  # bytes that are no weights can fail in any way
        raise InputError(f"{where}: is not a file of weights alone, as torch.save(state_dict) writes") from None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{where}: is not a file of named weights: it holds no named tensors, as a state_dict has")
    for name, value in state.items():
        if not value.isfinite().all():
            raise InputError(f"{where}: {name} has values that are not finite (NaN or infinity)")
    return state


def unpack_weights(data: bytes, expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors in what ``read_weights`` gave, floating-point ones as float32.

    Raises:
        InputError: There are values that are not finite.
    """
    try:
        state = load(data)
    except SafetensorError as error:
        raise InputError(f"{path}: not a valid safetensors file ({_short(error)})") from None
    for name, tensor in state.items():
        if name not in expected or tensor.shape != expected[name].shape:
            raise InputError(f"{path}: was changed while it was read")
        if tensor.is_floating_point():
            # In the type that is computed with: a float64 may be finite in the file and infinite here.
            state[name] = tensor.float()
            if not state[name].isfinite().all():
                raise InputError(f"{path}: {name} has values that are not finite (NaN or infinity) in float32")
    return state


def _check_header(path: Path, expected: Mapping[str, Tensor], description: str) -> None:
    with open_regular(path) as file:
        start = file.read(2)
    if start in _PICKLES:
        raise InputError(f"{path}: is a pickle, not a safetensors file; pickles are never loaded from a checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            found = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a valid safetensors file ({_short(error)})") from None
    if missing := [name for name in expected if name not in found]:
        raise _misfit(path, description, f"{missing[0]} is missing{_more(missing)}")
    if extra := [name for name in found if name not in expected]:
        raise _misfit(path, description, f"{extra[0][:100]!r} does not belong there{_more(extra)}")
    for name, (shape, dtype) in found.items():
        wanted = expected[name]
        if shape != tuple(wanted.shape):
            raise _misfit(path, description, f"{name} is {list(shape)} instead of {list(wanted.shape)}")
        if dtype not in (_FLOATS if wanted.is_floating_point() else ("I64",)):
            kind = "float16, bfloat16, float32 or float64" if wanted.is_floating_point() else "int64"
            raise InputError(f"{path}: {name} has the type {dtype}; it must be {kind}")


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is a folder, not a file" if stat.S_ISDIR(mode) else f"{path}: is not a regular file")


def _misfit(path: Path, description: str, what: str) -> InputError:
    return InputError(f"{path}: does not fit {description}: {what}")


def _more(names: Sequence[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
