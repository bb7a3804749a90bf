"""Typed settings: frozen dataclasses, `key=value` overrides, plain JSON in and out.

The settings classes are the schema. `Component` adds families of parts that are chosen by name;
OmegaConf does the typed conversion of a single value. Reading a config only ever looks names up in
a family, so a stranger's file cannot import or run anything.
"""

import dataclasses
import difflib
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
                f"{where}={name!r} names no part{nearest(name, cls.kinds)}; "
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

    A part is swapped by its name (`model.module=mesh`); tuples of settings are indexed
    (`objectives.0.weight=2`). Values are YAML scalars and lists, converted to the field's type.

    Raises:
        ConfigError: unknown key, wrong type, or a combination that the settings refuse.
    """
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"{assignment!r} is not of the form key=value.")
        settings = _assign(settings, key.split("."), value, key)
    return settings


def _assign(settings: Any, path: list[str], value: str, key: str) -> Any:
    head, *rest = path
    if isinstance(settings, tuple):
        if not head.isdigit() or int(head) >= len(settings):
            raise ConfigError(f"{key}: {head!r} is no index into its {len(settings)} entries.")
        changed = list(settings)
        changed[int(head)] = _assign(settings[int(head)], rest, value, key)
        return tuple(changed)
    known = fields(settings)
    if head not in known:
        raise ConfigError(
            f"{key}: {type(settings).__name__} has no setting {head!r}{nearest(head, known)}"
            f" (defined in {type(settings).__module__}; it has {', '.join(known)})."
        )
    current = getattr(settings, head)
    nested = _settings_class(known[head]) is not None or (
        isinstance(current, tuple) and any(dataclasses.is_dataclass(c) for c in current)
    )
    if rest:
        if not nested or current is None:
            raise ConfigError(f"{key}: {head!r} has no settings inside it.")
        new = _assign(current, rest, value, key)
    elif nested:
        new = _choose(known[head], current, value, key)
    else:
        new = _convert(head, known[head], value, key, text=True)
    return _rebuild(settings, {head: new}, key)


def _choose(hint: Any, current: Any, value: str, key: str) -> Any:
    """A part swapped by name: shared settings of the family keep their values."""
    cls = _settings_class(hint)
    if value == "null" and type(None) in typing.get_args(hint):
        return None
    if cls is None or not issubclass(cls, Component):
        raise ConfigError(f"{key} is a group of settings; set one of them, as in {key}.name=value.")
    chosen = cls.named(value, key)
    if type(current) is chosen:
        return current
    shared = {f.name for f in dataclasses.fields(cls)}
    kept = {n: getattr(current, n) for n in shared} if current is not None else {}
    return chosen(**kept)


def _rebuild(settings: Any, changes: dict[str, Any], key: str) -> Any:
    try:
        return dataclasses.replace(settings, **changes)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error


def _settings_class(hint: Any) -> type[Any] | None:
    """The settings class in `hint`, which may be optional; None for plain values."""
    options = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = [a for a in typing.get_args(hint) if a is not type(None)]
    if len(options) == 1 and isinstance(options[0], type) and dataclasses.is_dataclass(options[0]):
        return options[0]
    return None


def _convert(name: str, hint: Any, value: Any, key: str, *, text: bool = False) -> Any:
    """One value converted to its declared type by OmegaConf."""
    if "${" in str(value) or value == "???":  # OmegaConf would resolve these: environment, missing
        raise ConfigError(f"{key}: values with '${{' and '???' are not allowed, got {value!r}.")
    schema = OmegaConf.structured(dataclasses.make_dataclass("Value", [(name, hint)]))
    try:
        given = OmegaConf.from_dotlist([f"{name}={value}"]) if text else {name: value}
        converted = getattr(OmegaConf.to_object(OmegaConf.merge(schema, given)), name)
    except (OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        expected = getattr(hint, "__name__", None) if isinstance(hint, type) else None
        wanted = expected or str(hint).replace("typing.", "")
        raise ConfigError(
            f"{key}={value!r} does not fit {wanted}: {reason.rstrip('.')}."
        ) from error
    return _tuples(converted)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


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
        raise ConfigError(f"{where} should be a group of settings, got {data!r}.")
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
            raise ConfigError(
                f"{path}: {chosen.__name__} has no setting {name!r}{nearest(str(name), known)}."
            )
        values[name] = _read(name, known[name], value, path)
    try:
        return chosen(**values)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _read(name: str, hint: Any, value: Any, path: str) -> Any:
    inner = _settings_class(hint)
    if inner is not None:
        if value is None and type(None) in typing.get_args(hint):
            return None
        return from_data(inner, value, path)
    element = _settings_class((typing.get_args(hint) or (None,))[0])
    if typing.get_origin(hint) is tuple and element is not None:
        if not isinstance(value, list):
            raise ConfigError(f"{path} should be a list, got {value!r}.")
        return tuple(from_data(element, v, f"{path}.{i}") for i, v in enumerate(value))
    return _convert(name, hint, value, path)


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
