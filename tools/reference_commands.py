"""The page of every command, from the functions that the parser is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

from pipeline.cli import app
from tools.markdown import from_docstring, table, with_links

_INTRODUCTION: Final = """\
<!-- Written by `make reference` from the parser. Do not edit. -->
# Commands

`breast-density --version` prints the version, `breast-density COMMAND --help` what is below. Errors are one
sentence; with `BREAST_DENSITY_DEBUG=1` the traceback comes with it. Exit code 1 is an error, 2 a command line that
cannot be read, unless a command says otherwise.
"""
_TYPES: Final = {int: "integer", float: "number", str: "text", Path: "path", bool: ""}


@dataclass(frozen=True)
class _Parameter:
    name: str
    hint: Any
    info: ParameterInfo
    default: Any

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def is_argument(self) -> bool:
        return isinstance(self.info, ArgumentInfo)

    @property
    def shown(self) -> str:
        """Name as the command line has it."""
        if self.is_argument:
            return self.info.metavar or self.name.upper()
        # Typer takes the first name of an annotated option for its default, until it makes the parser.
        names = (str(text) for text in (self.info.default, *(self.info.param_decls or ())))
        declared = [name for name in names if name.startswith("-")]
        long = f"--{self.name.replace('_', '-')}"
        if self.hint is bool and not declared:
            return f"{long}, --no-{long.removeprefix('--')}"
        return ", ".join(declared or [long])


def _bare(hint: Any) -> tuple[Any, bool]:
    """Remove ``None`` and ``list`` from a type; return the type, and True if it was a list."""
    if get_origin(hint) is Literal:
        return hint, False
    options = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is list:
        return _bare(options[0])[0], True
    if options and get_origin(hint) is not Annotated:
        return _bare(options[0])
    return hint, False


def _annotated(hint: Any) -> Any:
    """Find what is annotated, which Python 3.10 wraps in ``Optional`` where the default is ``None``."""
    return hint if get_origin(hint) is Annotated else next(part for part in get_args(hint) if get_args(part))


def _parameters(function: Callable[..., Any]) -> Iterator[_Parameter]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint, *annotations = get_args(_annotated(hints[name]))
        info = next(found for found in annotations if isinstance(found, ParameterInfo))
        if not (isinstance(info, OptionInfo) and info.hidden):
            yield _Parameter(name, hint, info, parameter.default)


def _type_of(parameter: _Parameter) -> str:
    kind, many = _bare(parameter.hint)
    if isinstance(kind, type) and issubclass(kind, Enum):
        text = ", ".join(f"`{member.value}`" for member in kind)
    elif get_origin(kind) is Literal:
        text = ", ".join(f"`{value}`" for value in get_args(kind))
    elif not parameter.is_argument and parameter.info.metavar:
        text = f"`{parameter.info.metavar}`"
    else:
        text = _TYPES[kind]
    bounds = [("at least", parameter.info.min), ("at most", parameter.info.max)]
    text = ", ".join([text, *(f"{words} {bound}" for words, bound in bounds if bound is not None)])
    return f"{text}; several" if many else text


def _default_of(parameter: _Parameter) -> str:
    if parameter.is_required:
        return "required"
    value = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    return "" if value is None or value is False else f"`{value}`"


def _help_of(parameter: _Parameter) -> str:
    text = from_docstring(parameter.info.help or "")
    variable = parameter.info.envvar
    return f"{text} Or the environment variable `{variable}`." if variable else text


def _usage(command: str, parameters: list[_Parameter]) -> str:
    words = [command]
    if any(not parameter.is_argument for parameter in parameters):
        words.append("[OPTIONS]")
    for parameter in parameters:
        if parameter.is_argument:
            name = parameter.shown + ("..." if _bare(parameter.hint)[1] and "..." not in parameter.shown else "")
            words.append(name if parameter.is_required or name.startswith("[") else f"[{name}]")
        elif parameter.is_required:
            words.append(f"{parameter.shown} ...")
    return " ".join(words)


def _commands(group: typer.Typer, path: str) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    for command in group.registered_commands:
        function = command.callback
        assert function is not None
        text = inspect.cleandoc(command.help) if command.help else inspect.getdoc(function) or ""
        yield f"{path} {command.name or function.__name__.replace('_', '-')}", text, function
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _commands(inner.typer_instance, f"{path} {inner.name}")


def _command(name: str, text: str, function: Callable[..., Any]) -> str:
    parameters = list(_parameters(function))
    rows = [
        [f"`{parameter.shown}`", _type_of(parameter), _default_of(parameter), _help_of(parameter)]
        for parameter in sorted(parameters, key=lambda parameter: not parameter.is_argument)
    ]
    head = ("argument or option", "type", "default", "what")
    usage = f"```text\n{_usage(name, parameters)}\n```"
    return "\n\n".join([f"## `{name}`", usage, with_links(from_docstring(text)), table(head, rows)])


@cache
def commands_page() -> str:
    """Write the page."""
    parts = [_INTRODUCTION, *(_command(*found) for found in _commands(app, "breast-density"))]
    return "\n\n".join(part.strip() for part in parts) + "\n"
