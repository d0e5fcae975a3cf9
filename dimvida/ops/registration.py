"""How an op is made of one signature: its schema, its public function and its fake; and how it runs on the kernels.

The signature is that of the function that checks the arguments (``declare``): it raises ``TypeError`` for a wrong dtype
and ``ValueError`` for a wrong shape, device, layout or number, names the argument, and returns the sizes that the
kernels take besides the arguments. Every backend checks so before it reads a pointer, for a few microseconds. Kernels
are filled by the names of arguments and sizes, those in C++ as the one in PyTorch that every op has (``in_pytorch``):
the specification that the others are tested against, and what runs where there is none of them.

Pointers are taken here and nowhere else, after the checks.
"""

from __future__ import annotations

import functools
import inspect
import string
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from dimvida.ops import native
from dimvida.ops.native import _native

NAMESPACE = "dimvida"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")

Sizes = dict[str, Any]
"""Numbers that the kernels take besides the arguments, by the names of fields of their parameter struct."""

Arguments = SimpleNamespace
"""What the kernel in PyTorch takes: the arguments and the sizes, as attributes of the same names."""

PUBLIC: dict[str, Callable[..., Any]] = {}
"""The public function of each op, by name."""

reference = SimpleNamespace()
"""Functions like the public ones that run the kernel in PyTorch on any device, as attributes."""

# Annotations of a signature, and the type of a schema that each stands for; {} is where an alias goes.
_TYPES = {"Tensor": "Tensor{}", "Tensor | None": "Tensor{}?", "int": "int", "float": "float", "float | None": "float?"}


# What the native module calls each dtype.
_DTYPE_CODES = {getattr(torch, name): code for name, code in _native.DTYPES.items()} if _native else {}


class Op:
    """An op of this package: a check, and kernels that are launched with what it has checked.

    A kernel's parameter class is filled by name: with the address of each tensor and, where it has such a field, its
    ``<name>_dtype`` and the distance of its rows, ``<name>_stride``; with each number; and with the sizes that the
    check found. It refuses tensors that share memory with one that is written.

    Attributes:
        name: What ``torch.ops.dimvida`` calls it, as ``masked_step_``.
        signature: Signature of its public function; the schema's arguments, in order.
        result: Name of the tensor that it returns, and what makes that, uninitialised; None where it returns nothing.
        has_cuda: Whether there is a CUDA kernel.
    """

    def __init__(self, check: Callable[..., Sizes], result: tuple[str, Callable[..., Tensor]] | None) -> None:
        self.name, self._check, self.result = check.__name__, check, result
        self.signature = inspect.signature(check).replace(return_annotation=Tensor if result else None)
        parameters = self.signature.parameters
        self._defaults = tuple(parameter.default for parameter in parameters.values())
        # csrc/cpu/<kernel>.cpp and csrc/cuda/<kernel>.cu
        kernel = self.name.removesuffix("_")
        self._params, self._cpu, self._cuda = (
            getattr(_native, f"{kernel}_{kind}", None) for kind in ("params", "cpu", "cuda")
        )
        self.has_cuda = self._cuda is not None and native.native_available("cuda")
        tensors = {name: str(parameter.annotation).startswith("Tensor") for name, parameter in parameters.items()}
        if result:
            tensors[result[0]] = True
        # Of each argument: its name, whether it is a tensor, and the fields that it fills besides that of its name.
        fields = getattr(self._params, "FIELDS", ())
        self._places = [
            (
                name,
                is_tensor,
                *(f"{name}_{kind}" if f"{name}_{kind}" in fields else None for kind in ("dtype", "stride")),
            )
            for name, is_tensor in tensors.items()
        ]

    def check(self, *arguments: Any) -> Sizes:
        """The sizes, if the arguments fit.

        Raises:
            TypeError, ValueError: They do not, see the op.
            RuntimeError: A tensor requires grad while grad mode is on.
        """
        sizes = self._check(*arguments)
        if torch.is_grad_enabled():
            for value in arguments:
                if isinstance(value, Tensor) and value.requires_grad:
                    raise RuntimeError(f"{self.name} has no derivative: call it under torch.no_grad()")
        return sizes

    def on_cpu(self, *arguments: Any, threads: int | None = None, simd: str | None = None) -> Tensor | None:
        """The op on its CPU kernel; the number of threads and the instruction set change its speed and nothing else.

        Args:
            arguments: The op's arguments, in the order of its schema.
            threads: Threads to compute in; None for as many as torch has.
            simd: By default that of ``DIMVIDA_SIMD``, or the best.

        Raises:
            InputError: If the variable names no instruction set that is usable here.
            TypeError, ValueError, IndexError, RuntimeError: An argument does not fit; the op's public function says
                which is which.
        """
        simd = native.chosen_simd() if simd is None else simd
        params, result = self._prepare(arguments)
        status = self._cpu(params, threads or torch.get_num_threads(), simd)
        if status == _native.STEP_OUT_OF_RANGE:
            raise IndexError(f"{self.name}: step is out of range")
        return result

    def on_cuda(self, *arguments: Any) -> Tensor | None:
        """The op on its CUDA kernel, on torch's current stream of the tensors' device."""
        params, result = self._prepare(arguments)
        with torch.cuda.device(arguments[0].device):
            status = self._cuda(params, torch.cuda.current_stream().cuda_stream)
        if status:
            raise RuntimeError(f"{self.name}: {_native.cuda_error_string(status)}")
        return result

    def _prepare(self, arguments: Sequence[Any]) -> tuple[Any, Tensor | None]:
        """The parameters of arguments, which are checked, and the uninitialised result if the op returns one."""
        # torch leaves out arguments at the end that are what they are by default.
        arguments = (*arguments, *self._defaults[len(arguments) :])
        sizes = self.check(*arguments)
        if self.result is None:
            return self.fill(sizes, arguments), None
        result = self.result[1](*arguments)
        return self.fill(sizes, (*arguments, result)), result

    def fill(self, sizes: Sizes, arguments: Sequence[Any]) -> Any:
        """The parameters: arguments in order, then the result if there is one, and the sizes that the check found."""
        fields = sizes
        for (name, is_tensor, dtype, stride), value in zip(self._places, arguments, strict=True):
            if not is_tensor:
                fields.setdefault(name, value)
            elif value is not None:
                fields[name] = native.pointer_of(value)
                if dtype:
                    fields[dtype] = _DTYPE_CODES[value.dtype]
                if stride:
                    fields[stride] = value.stride(0)
            else:
                if dtype:
                    fields[dtype] = 0
                if stride:
                    fields[stride] = 0
        return self._params(fields)


OPS: dict[str, Op] = {}
"""All ops by name."""


def declare(
    writes: tuple[str, ...] = (), result: tuple[str, Callable[..., Tensor]] | None = None
) -> Callable[[Callable[..., Sizes]], Callable[..., Any]]:
    """Make an op of a function that checks its arguments, and replace it by the op's public function.

    Args:
        writes: Names of the arguments that are written.
        result: Name of the tensor that is returned, and what makes it, uninitialised, from the arguments.
    """

    def define(check: Callable[..., Sizes]) -> Callable[..., Any]:
        op = OPS[check.__name__] = Op(check, result)
        LIBRARY.define(op.name + _schema(op.signature, writes), tags=(torch.Tag.pt2_compliant_tag,))
        overload = getattr(getattr(torch.ops, NAMESPACE), op.name).default

        def fake(*arguments: Any) -> Tensor | None:
            op.check(*arguments)
            return op.result[1](*arguments) if op.result else None

        @functools.wraps(check)
        def public(*arguments: Any, **named: Any) -> Any:
            return overload(*arguments, **named)

        public.__signature__ = op.signature
        torch.library.register_fake(f"{NAMESPACE}::{op.name}", fake, lib=LIBRARY)
        if native.native_available("cpu"):
            LIBRARY.impl(op.name, op.on_cpu, "CPU")
        if op.has_cuda:
            LIBRARY.impl(op.name, op.on_cuda, "CUDA")
        PUBLIC[op.name] = public
        return public

    return define


def in_pytorch(public: Callable[..., Any]) -> Callable[[Callable[[Arguments], Any]], Callable[..., Any]]:
    """Make of a function the op's kernel in plain PyTorch, for every device without one of its own.

    It takes the arguments after the check, never waits for a device, and returns the op's result if there is one.

    Args:
        public: The op's public function.
    """

    def register(kernel: Callable[[Arguments], Any]) -> Callable[..., Any]:
        op = OPS[public.__name__]

        @functools.wraps(public)
        def checked(*arguments: Any, **named: Any) -> Any:
            bound = op.signature.bind(*arguments, **named)
            bound.apply_defaults()
            sizes = op.check(*bound.args)
            return kernel(Arguments(**{**bound.arguments, **sizes}))

        LIBRARY.impl(op.name, checked, "CompositeExplicitAutograd")
        setattr(reference, op.name, checked)
        return checked

    return register


def _schema(signature: inspect.Signature, writes: tuple[str, ...]) -> str:
    arguments = []
    aliases = iter(string.ascii_lowercase)
    for name, parameter in signature.parameters.items():
        kind = _TYPES[parameter.annotation].format(f"({next(aliases)}!)" if name in writes else "")
        default = "" if parameter.default is parameter.empty else f"={parameter.default}"
        arguments.append(f"{kind} {name}{default}")
    return f"({', '.join(arguments)}) -> {'()' if signature.return_annotation is None else 'Tensor'}"
