"""Arguments of policies as users give them: in Python, in SB3's ``policy_kwargs``, or as names and mappings in YAML."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
import warnings
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeVar

from snn4.policies.neurons import PROFILES, NeuronConfig, with_profile

Config = TypeVar("Config")


def whole_number(name: str, value: Any) -> int:
    """``value`` as an int; ValueError unless it is a whole number >= 1."""
    if not _is(value, int) or value < 1:
        raise ValueError(f"{name}: got {value!r}, allowed is a whole number >= 1")
    return int(value)


def not_negative(name: str, value: Any, most: float = math.inf) -> float:
    """``value`` as a float; ValueError unless it is a finite number from 0 to ``most``."""
    if not _is(value, float) or not 0 <= value <= most or value == math.inf:
        allowed = f"a number from 0 to {most:g}" if most < math.inf else "a finite number >= 0"
        raise ValueError(f"{name}: got {value!r}, allowed is {allowed}")
    return float(value)


def layer_sizes(name: str, value: Any, least: int = 1) -> list[int]:
    """``value`` as a list; ValueError unless it is a list of ``least`` or more whole numbers >= 1."""
    sizes = [*value] if isinstance(value, (list, tuple)) else value
    if not isinstance(sizes, list) or len(sizes) < least or not all(_is(n, int) and n >= 1 for n in sizes):
        number = "one or more" if least else "a list of"
        raise ValueError(f"{name}: got {sizes!r}, allowed is {number} layer sizes >= 1, for instance [64, 64]")
    return [int(n) for n in sizes]


def architecture(value: Any, parts: Sequence[str]) -> list[int] | dict[str, list[int]]:
    """SB3's ``net_arch``: layer sizes, or a mapping from ``parts`` (pi and vf, or pi and qf) to layer sizes.

    As in SB3, an empty list gives a linear network, and so does a missing pi or vf. With qf, both parts are required.

    Raises:
        ValueError: the message names the part, its value and what is allowed.
    """
    if not isinstance(value, Mapping) or not parts:
        return layer_sizes("net_arch", value, least=0)
    for key in value:
        if key not in parts:
            raise ValueError(f"net_arch: got a part {key!r}, {_allowed(key, parts)}")
    missing = [part for part in parts if part not in value]
    if missing and "qf" in parts:
        raise ValueError(f"net_arch: got no {missing[0]}, allowed is a mapping with {' and '.join(parts)}, or one list")
    return {key: layer_sizes(f"net_arch.{key}", sizes, least=0) for key, sizes in value.items()}


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """``value``; ValueError unless it is one of ``allowed``."""
    choices = [*allowed]
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, {_allowed(value, choices)}")
    return value


def config_of(name: str, value: Any, config: type[Config]) -> Config:
    """``value`` as a ``config``.

    ``value`` is a config, a mapping of its fields, the value of its first field, or None for the defaults. The first
    field names a kind, as in ``coding="population"``.

    Raises:
        ValueError: the message names the argument or field, its value and what is allowed.
    """
    if isinstance(value, config):
        return value
    hints = _fields(config)
    if isinstance(value, str):
        value = {next(iter(hints)): value}
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name}: got {value!r}, allowed is a name, a mapping of fields, or a {config.__name__}")
    for key in value or {}:
        if key not in hints:
            raise ValueError(f"{name}.{key}: unknown, {_allowed(key, hints)}")
    parts = {key: _part(f"{name}.{key}", part, hints[key]) for key, part in (value or {}).items()}
    try:
        return config(**parts)
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from error


def neuron_of(value: Any) -> NeuronConfig:
    """``value`` as a neuron, like `config_of`; also the name of a profile (`PROFILES`), or a mapping with one."""
    if isinstance(value, str):
        value = PROFILES.get(value, value)
    return config_of("neuron", with_profile(value) if isinstance(value, Mapping) else value, NeuronConfig)


def parameters_of(policy: type) -> dict[str, inspect.Parameter]:
    """The arguments, by name, of the constructor of ``policy`` and of the base classes to which it passes them."""
    arguments: dict[str, inspect.Parameter] = {}
    for base in policy.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
            arguments = {**parameters, **arguments}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
                break
    return {name: parameter for name, parameter in arguments.items() if parameter.default is not parameter.empty}


def check_known(policy: type, arguments: Iterable[str]) -> None:
    """TypeError for an argument that ``policy`` does not take."""
    known = parameters_of(policy)
    for name in arguments:
        if name not in known:
            raise TypeError(f"{name}: unknown argument of {policy.__name__}, {_allowed(name, known)}")


def warn_of_activation(policy: Any) -> None:
    """UserWarning if SB3's ``activation_fn`` is not the default, because it has no effect on neurons."""
    if policy.activation_fn is not parameters_of(type(policy))["activation_fn"].default:
        name = getattr(policy.activation_fn, "__name__", policy.activation_fn)
        message = f"activation_fn: got {name}, which applies only to artificial layers, such as a critic's"
        warnings.warn(f"{message}; set neuron for spiking layers", stacklevel=4)


def _allowed(value: Any, choices: Iterable[Any]) -> str:
    names = [str(choice) for choice in choices]
    near = get_close_matches(value, names, n=1) if isinstance(value, str) else []
    return f"{f'did you mean {near[0]}? Allowed' if near else 'allowed'} are {', '.join(names)}"


def _fields(config: type) -> dict[str, Any]:
    """The types of the fields of a dataclass, by name and in order."""
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}  # type: ignore[arg-type]


def _part(name: str, value: Any, hint: Any) -> Any:
    """``value`` as a field of type ``hint``; ValueError if it has another type."""
    if dataclasses.is_dataclass(hint):
        return config_of(name, value, hint)  # type: ignore[arg-type]
    if typing.get_origin(hint) is typing.Literal:
        return one_of(name, value, typing.get_args(hint))
    if not _is(value, hint):
        without_point = isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value)
        note = "; YAML reads 5e-3 as text, and 5.0e-3 as a number" if without_point else ""
        raise ValueError(f"{name}: got {value!r}, allowed is {_WORDS.get(hint, hint)}{note}")
    return tuple(value) if isinstance(value, list) else value


def _is(value: Any, hint: Any) -> bool:
    """Whether ``value`` has the type ``hint`` of a field; a list counts as a tuple, but a bool is not a number."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, option) for option in inner)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_is(part, inner[0]) for part in value)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


_WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "True or False", str: "a name",
    tuple[float, ...]: "a list of numbers", float | None: "a number or None",
}  # fmt: skip
