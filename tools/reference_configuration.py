"""The page of every configuration key, from the configuration's models and their docstrings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import RunConfig
from schema.software import installed_version
from serving.gateway.config import GatewayConfig
from tools.markdown import documented_attributes, prose_of, table, with_links

_INTRODUCTION: Final = """\
<!-- Written by `make reference` from the models. Do not edit. -->
# Configuration keys

Every key that a configuration may have, with its type, default and meaning. An unknown key, or a value that is not
allowed, stops the command before it begins, and the message names the key.

- [A run](#a-run): `breast-density run`, `describe`, `experiment`, `compile`. A file in YAML, or `--set KEY=VALUE` with
  the whole name, such as `--set pipeline.trainer.epochs=50`. The key `base` names another configuration, over which the
  file's own keys are laid.
- [The gateway](#the-gateway): `breast-density gateway`.
"""
_BOUNDS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "minProperties": "at least {} keys",
    "pattern": "matches `{}`",
}
_NAMES: Final = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


class UndocumentedKeyError(ValueError):
    """A configuration key that its model's docstring does not explain."""


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Find the models that a value may be, through unions, lists and maps."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _steps(annotation: Any) -> str:
    """Name what stands between a key and the keys of its models: ``[]`` of a list, ``.NAME`` of a map."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _steps(get_args(annotation)[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return ".NAME"
    if isinstance(origin, type) and issubclass(origin, (tuple, list)):
        return "[]"
    return ""


def _tag(model: type[BaseModel]) -> str:
    """Name what tells a model of a union from the others: the field of one literal value."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return f"{name}: {get_args(field.annotation)[0]}"
    return ""


def _sections(key: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield key, model
    for name, field in model.model_fields.items():
        found = _models_in(field.annotation)
        for inner in found:
            tag = f" ({_tag(inner)})" if len(found) > 1 else ""
            yield from _sections(f"{key}.{name}{_steps(field.annotation)}{tag}".removeprefix("."), inner)


def _type_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the constraints of a value's JSON Schema in words."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return "keys below" if target.get("type") == "object" else _type_of(target, definitions)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_type_of(option, definitions) for option in options))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        items: Mapping[str, Any] = schema.get("items") or next(iter(schema.get("prefixItems", ())), {})
        name = f"list of: {_type_of(items, definitions)}"
    elif kind == "object":
        values: Any = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), {})
        name = f"map to: {_type_of(values, definitions)}" if isinstance(values, Mapping) else "map"
    elif schema.get("format") in ("path", "date-time", "duration"):
        name = {"path": "path", "date-time": "date and time", "duration": "duration"}[schema["format"]]
    else:
        name = _NAMES.get(kind, kind)
    return ", ".join([name, *(text.format(schema[bound]) for bound, text in _BOUNDS.items() if bound in schema)])


def _default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined:
        return "set when it is read"
    annotation: Any = field.annotation
    value = TypeAdapter(annotation).dump_python(field.default, mode="json", warnings=False)
    if isinstance(field.default, BaseModel):
        return "keys below"
    if isinstance(field.default, Enum):
        value = field.default.value
    text = value if isinstance(value, str) and value else json.dumps(value)
    return f"`{text}`".replace(f":{installed_version()}", ":VERSION")


def _row(
    model: type[BaseModel], name: str, field: FieldInfo, schema: Mapping[str, Any], texts: Mapping[str, str]
) -> list[str]:
    if name not in texts:
        raise UndocumentedKeyError(f"{model.__name__}.{name}: explain it in the docstring, under Attributes")
    return [f"`{name}`", _type_of(schema["properties"][name], schema.get("$defs", {})), _default_of(field), texts[name]]


def _section(keys: Sequence[str], model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    texts = documented_attributes(model)
    rows = [_row(model, name, field, schema, texts) for name, field in model.model_fields.items()]
    title = ", ".join(f"`{key}`" for key in keys if key)
    parts = [
        f"### {title}" if title else "",
        with_links(prose_of(model)),
        table(("key", "type", "default", "what"), rows),
    ]
    return "\n\n".join(filter(None, parts))


@cache
def configuration_page() -> str:
    """Write the page; keys of one model share a table.

    Raises:
        UndocumentedKeyError: A docstring does not explain a key.
    """
    parts = [_INTRODUCTION]
    for title, root in (("A run", RunConfig), ("The gateway", GatewayConfig)):
        keys: dict[type[BaseModel], list[str]] = {}
        for key, model in _sections("", root):
            keys.setdefault(model, []).append(key)
        parts += [f"## {title}", *(_section(names, model) for model, names in keys.items())]
    return "\n\n".join(part.strip() for part in parts) + "\n"
