"""How an op is made of one signature: its schema, its public function and its fake; and how backends implement it."""

from __future__ import annotations

import functools
import inspect
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "dimvida"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")

Sizes = dict[str, Any]
"""Numbers that the kernels take besides the arguments, by the names of fields of their parameter struct."""

# Annotations of a signature, and the type of a schema that each stands for; {} is where an alias goes.
_TYPES = {"Tensor": "Tensor{}", "Tensor | None": "Tensor{}?", "int": "int", "float": "float", "float | None": "float?"}


@dataclass(frozen=True, slots=True)
class Op:
    """An op of this package.

    Attributes:
        name: As in ``torch.ops.dimvida``.
        signature: Signature of its public function; the schema's arguments, in order.
        result: Name of the tensor that it returns, and what makes that, uninitialised; None where it returns nothing.
    """

    name: str
    signature: inspect.Signature
    result: tuple[str, Callable[..., Tensor]] | None
    _check: Callable[..., Sizes]
    _defaults: tuple[Any, ...]

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

    def completed(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """All arguments in order: torch leaves out those at the end that are what they are by default."""
        return (*arguments, *self._defaults[len(arguments) :])


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
        signature = inspect.signature(check).replace(return_annotation=Tensor if result else None)
        op = OPS[check.__name__] = Op(
            check.__name__, signature, result, check, tuple(each.default for each in signature.parameters.values())
        )
        LIBRARY.define(op.name + _schema(signature, writes), tags=(torch.Tag.pt2_compliant_tag,))
        overload = getattr(getattr(torch.ops, NAMESPACE), op.name).default

        def fake(*arguments: Any) -> Tensor | None:
            op.check(*arguments)
            return op.result[1](*arguments) if op.result else None

        @functools.wraps(check)
        def public(*arguments: Any, **named: Any) -> Any:
            return overload(*arguments, **named)

        public.__signature__ = signature
        torch.library.register_fake(f"{NAMESPACE}::{op.name}", fake, lib=LIBRARY)
        return public

    return define


def implement(key: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function for the op of its name; it is called with all arguments in order, after the check.

    Args:
        key: Which devices it is for, a dispatch key of torch.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        op = OPS[function.__name__]

        @functools.wraps(function)
        def checked(*arguments: Any, **named: Any) -> Any:
            bound = op.signature.bind(*arguments, **named)
            bound.apply_defaults()
            op.check(*bound.args)
            return function(*bound.args)

        LIBRARY.impl(op.name, checked, key)
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
