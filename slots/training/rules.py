"""What trains and how, said by parameter path: ordered (pattern, value) pairs, first match wins."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
from jaxtyping import PyTree

from slots.config import ConfigError

_T = TypeVar("_T")


def path_name(path: tuple[Any, ...]) -> str:
    """`encoder/convs/0/kernel` for a JAX key path."""
    return "/".join(str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path)


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Leaves by path name, in tree order."""
    return {path_name(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def match(rules: Sequence[tuple[str, _T]], tree: PyTree, default: _T, where: str) -> PyTree:
    """A tree like `tree` with, at each leaf, the value of the first rule that matches its path.

    Args:
        rules: regular expressions that must match the whole path, and their values.
        tree: whose paths are matched.
        default: where no rule matches.
        where: the setting's name, for the error.

    Raises:
        ConfigError: a pattern is malformed, or matches no parameter.
    """
    try:
        compiled = [(re.compile(pattern), value) for pattern, value in rules]
    except re.error as error:
        raise ConfigError(
            f"{where}: {error.pattern!r} is no regular expression: {error}."
        ) from error
    names = list(named_leaves(tree))
    for pattern, _ in compiled:
        if not any(pattern.fullmatch(name) for name in names):
            raise ConfigError(
                f"{where}: {pattern.pattern!r} matches no parameter; paths look like {names[0]!r}."
            )

    def choose(path: tuple[Any, ...], _: Any) -> _T:
        name = path_name(path)
        return next((value for p, value in compiled if p.fullmatch(name)), default)

    return jax.tree_util.tree_map_with_path(choose, tree)
