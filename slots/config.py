"""Typed settings: frozen dataclasses, `key=value` overrides, plain JSON in and out.

The settings classes are the schema. `Component` adds families of parts that are chosen by name;
OmegaConf does the typed conversion of a single value. Reading a config only ever looks names up in
a family, so a stranger's file cannot import or run anything.
"""

import copy
import dataclasses
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

_T = TypeVar("_T")


class ConfigError(ValueError):
    """Something the user typed, or a file says, that cannot be used; one sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Component:
    """Settings of a part that belongs to a family.

    A family is a direct subclass with a `kinds` dict of its own; its members are registered with
    one line in the family's `__init__.py`: `SlotModuleConfig.kinds.update(slot_attention=...)`.
    """

    kinds: ClassVar[dict[str, type[Any]]]

    @property
    def kind(self) -> str:
        """The name this part is registered under.

        Raises:
            ConfigError: the class was never registered, so that a saved run could not name it.
        """
        for name, cls in self.kinds.items():
            if cls is type(self):
                return name
        raise ConfigError(
            f"{type(self).__name__} is not registered; add it with "
            f"{type(self).family().__name__}.kinds.update(name={type(self).__name__})."
        )

    @classmethod
    def family(cls) -> type["Component"]:
        """The base class that holds this part's `kinds`."""
        return next(c for c in cls.__mro__ if "kinds" in vars(c))

    @classmethod
    def named(cls, name: str, where: str) -> type[Any]:
        """The family's settings class called `name`; `where` is the key, for the error."""
        if name not in cls.kinds:
            raise ConfigError(
                f"{where}={_short(name)} names no part{nearest(name, cls.kinds) or ';'} "
                f"{cls.family().__name__} has {', '.join(sorted(cls.kinds))}."
            )
        return cls.kinds[name]


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean ...?` with the closest of `valid`, or nothing."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def fields(settings: Any) -> dict[str, Any]:
    """Name to resolved type of every field of a settings class or object."""
    cls = settings if isinstance(settings, type) else type(settings)
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def replace(settings: _T, **changes: Any) -> _T:
    """`dataclasses.replace` that takes dotted paths as `a__b=value`, for presets.

    Example: `replace(config, model__num_slots=7, train__steps=10)`.
    """
    nested: dict[str, dict[str, Any]] = {}
    flat = {}
    for path, value in changes.items():
        head, _, rest = path.partition("__")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            flat[head] = value
    for head, inner in nested.items():
        flat[head] = replace(flat.get(head, getattr(settings, head)), **inner)
    return dataclasses.replace(settings, **flat)  # type: ignore[type-var]


def override(settings: _T, assignments: Iterable[str]) -> _T:
    """Applies `a.b=value` assignments in order and returns new settings.

    A part is swapped by its name (`model.module=mesh`, `objectives=[reconstruction,part_losses]`);
    tuples of settings are indexed (`objectives.0.weight=2`). Text is taken as it stands, everything
    else is a YAML scalar or list, converted to the field's type. Combinations are checked once all
    assignments are made.

    Raises:
        ConfigError: unknown key, wrong type, or a combination that the settings refuse.
    """
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"{assignment!r} is not of the form key=value.")
        if not key.isprintable():
            raise ConfigError(f"{key!r} is no setting.")
        settings = _assign(settings, type(settings), key.split("."), value, key)
    return _checked(settings, "config")


def _assign(current: Any, hint: Any, path: list[str], value: str, key: str) -> Any:
    """`current`, declared as `hint`, with `value` at `path`; combinations are not yet checked."""
    if not path:
        if _settings_class(hint) is not None:
            return _choose(hint, current, value, key)
        return _read(hint, _by_name(hint, _parse(hint, value, key)), key)
    head, *rest = path
    if isinstance(current, tuple) and any(dataclasses.is_dataclass(c) for c in current):
        if not head.isdigit() or int(head) >= len(current):
            raise ConfigError(f"{key}: {head!r} is no index into its {len(current)} entries.")
        changed = list(current)
        changed[int(head)] = _assign(changed[int(head)], typing.get_args(hint)[0], rest, value, key)
        return tuple(changed)
    if not dataclasses.is_dataclass(current):
        raise ConfigError(f"{key}: there are no settings inside {current!r}.")
    known = fields(current)
    if head not in known:
        raise ConfigError(
            f"{key}: {type(current).__name__} has no setting {head!r}{nearest(head, known)}"
            f" (defined in {type(current).__module__}; it has {', '.join(known)})."
        )
    changed_group = copy.copy(current)
    new = _assign(getattr(current, head), known[head], rest, value, key)
    object.__setattr__(changed_group, head, new)
    return changed_group


def _choose(hint: Any, current: Any, value: str, key: str) -> Any:
    """A part swapped by name: shared settings of the family keep their values."""
    cls = _settings_class(hint)
    if value == "null" and _optional(hint):
        return None
    if cls is None or not issubclass(cls, Component):
        raise ConfigError(f"{key} is a group of settings; set one of them, as in {key}.name=value.")
    chosen = cls.named(value, key)
    if type(current) is chosen:
        return current
    shared = {f.name for f in dataclasses.fields(cls)}
    kept = {n: getattr(current, n) for n in shared} if current is not None else {}
    return _made(chosen, kept, key)


def _made(cls: type[_T], values: dict[str, Any], where: str) -> _T:
    try:
        return cls(**values)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _checked(settings: Any, where: str) -> Any:
    """The same settings made anew from the leaves up, so that every group checks itself."""
    if isinstance(settings, tuple):
        return tuple(_checked(value, f"{where}.{i}") for i, value in enumerate(settings))
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        return settings
    values = {
        f.name: _checked(getattr(settings, f.name), f"{where}.{f.name}")
        for f in dataclasses.fields(settings)
    }
    return _made(type(settings), values, where)


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _required(hint: Any) -> Any:
    """`hint` without `| None`."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    options = [a for a in typing.get_args(hint) if a is not type(None)]
    return options[0] if len(options) == 1 else hint


def _settings_class(hint: Any) -> type[Any] | None:
    """The settings class in `hint`, which may be optional; None for plain values."""
    cls = _required(hint)
    return cls if isinstance(cls, type) and dataclasses.is_dataclass(cls) else None


def _parse(hint: Any, text: str, key: str) -> Any:
    """What the user typed, as plain data."""
    if _required(hint) is str:
        return None if text == "null" and _optional(hint) else text
    _refuse_placeholders(text, key)
    try:
        data: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
    except (OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{key}={text!r} cannot be read as a value or a list.") from error
    return data["value"]


def _by_name(hint: Any, value: Any) -> Any:
    """A list in which parts that are only named stand with their defaults."""
    first = (*typing.get_args(hint), None)[0]
    parts = isinstance(first, type) and issubclass(first, Component)
    if not parts or not isinstance(value, list):
        return value
    return [{"kind": one} if isinstance(one, str) else one for one in value]


def _read(hint: Any, value: Any, path: str) -> Any:
    """Plain data as what `hint` declares."""
    if value is None and _optional(hint):
        return None
    inner, wanted = _settings_class(hint), _required(hint)
    if inner is not None:
        return from_data(inner, value, path)
    if typing.get_origin(wanted) is not tuple:
        return _convert(hint, value, path)
    if not isinstance(value, list):
        raise ConfigError(f"{path} should be a list, got {_short(value)}.")
    elements = typing.get_args(wanted)
    if elements[-1] is Ellipsis:
        elements = elements[:1] * len(value)
    if len(elements) != len(value):
        raise ConfigError(f"{path} should have {len(elements)} entries, got {_short(value)}.")
    return tuple(
        _read(element, v, f"{path}.{i}")
        for i, (element, v) in enumerate(zip(elements, value, strict=True))
    )


def _convert(hint: Any, value: Any, path: str) -> Any:
    """One scalar converted to its declared type by OmegaConf."""
    wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    if isinstance(value, list | dict):
        raise ConfigError(f"{path} should be {wanted}, got {_short(value)}.")
    _refuse_placeholders(value, path)
    schema = OmegaConf.structured(dataclasses.make_dataclass("Value", [("value", hint)]))
    try:
        made: Any = OmegaConf.to_object(OmegaConf.merge(schema, {"value": value}))
    except (OmegaConfBaseException, ValueError, TypeError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise ConfigError(f"{path}={_short(value)} does not fit {wanted}: {reason}.") from error
    if isinstance(made.value, float) and not math.isfinite(made.value):
        raise ConfigError(f"{path}={_short(value)} should be a finite number.")
    return made.value


def _refuse_placeholders(value: Any, path: str) -> None:
    """OmegaConf would look these up: `${oc.env:HOME}` reads the environment."""
    if isinstance(value, str) and ("${" in value or value == "???"):
        raise ConfigError(
            f"{path}: values with '${{' and '???' are not allowed, got {_short(value)}."
        )


def _short(value: Any) -> str:
    """`value` for a message: a stranger's file may hold anything, at any depth and length."""
    return reprlib.repr(value)


def to_data(settings: Any) -> Any:
    """Settings as plain JSON data; a part carries its family name under `kind`."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        data = {f.name: to_data(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
        return {"kind": settings.kind, **data} if isinstance(settings, Component) else data
    if isinstance(settings, tuple | list):
        return [to_data(value) for value in settings]
    return settings


def from_data(cls: type[_T], data: Any, where: str = "config") -> _T:
    """The inverse of `to_data`. `data` may leave settings out; their defaults hold.

    Raises:
        ConfigError: unknown key or part, wrong type, refused combination; names the path.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where} should be a group of settings, got {_short(data)}.")
    data = dict(data)
    chosen: Any = cls
    if isinstance(cls, type) and issubclass(cls, Component):
        kind = data.pop("kind", None)
        if not isinstance(kind, str):
            raise ConfigError(f"{where} does not say which kind of {cls.__name__} it is.")
        chosen = cls.named(kind, where)
    known = fields(chosen)
    values = {}
    for name, value in data.items():
        path = f"{where}.{name}"
        if name not in known:
            hint = nearest(str(name), known) or "."
            raise ConfigError(f"{path}: {chosen.__name__} has no setting {name!r}{hint}")
        values[name] = _read(known[name], value, path)
    return _made(chosen, values, where)


def leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain setting as (dotted path, value); a part's own path gives its kind."""
    if isinstance(settings, Component):
        yield prefix.rstrip("."), settings.kind
    if dataclasses.is_dataclass(settings):
        for name in fields(settings):
            yield from leaves(getattr(settings, name), f"{prefix}{name}.")
    elif isinstance(settings, tuple) and any(dataclasses.is_dataclass(v) for v in settings):
        for i, value in enumerate(settings):
            yield from leaves(value, f"{prefix}{i}.")
    else:
        yield prefix.rstrip("."), settings
