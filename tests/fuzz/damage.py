"""Bad inputs, made from good ones: damaged bytes, trees of JSON with wrong values, hostile arrays.

Everything is a function of a random generator, so that an input that fails can be made again.
"""

import copy
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Random = np.random.Generator


def damaged(rng: Random, data: bytes) -> bytes:
    """Cut, flipped, overwritten, lengthened, repeated, emptied, or something else altogether."""
    kind, size = int(rng.integers(9)), len(data)
    place = int(rng.integers(size + 1))
    some = rng.bytes(int(rng.integers(1, 40)))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[place:]
    if kind == 2:
        return data[:place] + some + data[place:]
    if kind == 3:
        return data[:place] + some + data[place + len(some) :]
    if kind == 4:
        return data + data[:place]
    if kind == 5:
        return b""
    if kind == 6:
        return rng.bytes(int(rng.integers(1, 400)))
    if kind == 7:  # a number that stands somewhere becomes huge
        return (
            data[:place] + struct.pack("<Q", 2**62 + int(rng.integers(2**20))) + data[place + 8 :]
        )
    bits = bytearray(data or b"\0")
    for _ in range(int(rng.integers(1, 9))):
        bits[int(rng.integers(len(bits)))] ^= 1 << int(rng.integers(8))
    return bytes(bits)


WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, -(2**70), 10**400, 0.5, -1e308, float("nan"), float("inf"),
    "", "x", "\x00", "../../etc/passwd", "/dev/zero", "é" * 3000, "__class__", "1e999", "9" * 5000,
    [], {}, [None], [[]], {"kind": "slot_attention"}, {"": 0}, [1] * 1000, {"__reduce__": ["os"]},
)  # fmt: skip
"""Values that hardly any place expects."""


def wrong(rng: Random) -> Any:
    """One of `WRONG`."""
    return copy.deepcopy(WRONG[int(rng.integers(len(WRONG)))])


def tree(rng: Random, value: Any, changes: int = 3) -> Any:
    """A copy of a tree of JSON with wrong values, keys misspelt, left out or added."""
    made = json.loads(json.dumps(value))
    for _ in range(int(rng.integers(1, changes + 1))):
        where = [(None, None), *(_places(made) if isinstance(made, dict | list) else ())]
        parent, key = where[int(rng.integers(len(where)))]
        if parent is None:
            if rng.random() < 0.1:
                made = wrong(rng)
            continue
        kind = int(rng.integers(5))
        if kind == 0 and isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        elif kind == 1:
            del parent[key]
        elif kind == 2 and isinstance(parent, dict):
            parent[str(wrong(rng))] = wrong(rng)
        elif kind == 3:
            parent[key] = [parent[key]]
        else:
            parent[key] = wrong(rng)
    return made


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a tree."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys if isinstance(value, dict | list) else ():
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


def text(rng: Random, value: Any) -> bytes:
    """JSON of a wrong tree; sometimes nested deeper than a parser goes, or damaged as text."""
    kind = rng.random()
    if kind < 0.05:
        return b"[" * 100_000
    if kind < 0.1:
        return json.dumps(value).replace("1", "9" * 5000).encode()
    whole = json.dumps(tree(rng, value)).encode()
    return damaged(rng, whole) if kind < 0.4 else whole


class Trap:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def archive(rng: Random, arrays: Mapping[str, np.ndarray], trap: Path) -> bytes:
    """An .npz of wrong arrays: other dtypes, shapes, names, headers that lie, pickles, bombs."""
    file = io.BytesIO()
    chosen = str(rng.choice(list(arrays)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, array in arrays.items():
            if name != chosen:
                made.writestr(f"{name}.npy", npy(array))
                continue
            for member, data in _member(rng, name, array, trap).items():
                made.writestr(member, data)
    return file.getvalue()


def _member(rng: Random, name: str, array: np.ndarray, trap: Path) -> dict[str, bytes]:
    kind = int(rng.integers(9))
    if kind == 0:
        return {f"{name}.npy": pickle.dumps(Trap(trap))}
    if kind == 1:
        objects = np.empty(array.shape[:1], object)
        objects[:] = [Trap(trap)] * len(objects)
        return {f"{name}.npy": npy(objects)}
    if kind == 2:
        return {f"../{name}.npy": npy(array)}
    if kind == 3:
        return {f"{name}.npy": header((10**6, 10**6, 10**3), array.dtype.str) + b"\0" * 64}
    if kind == 4:
        return {f"{name}.npy": header((-1, 2**62), array.dtype.str)}
    if kind == 5:
        return {f"{name}.npy": damaged(rng, npy(array))}
    if kind == 6:
        dtype = str(rng.choice(["f8", "c16", "i1", "U3", "M8[s]", "?", "u8"]))
        return {f"{name}.npy": npy(np.zeros(array.shape, dtype))}
    if kind == 7:
        axes = tuple(int(n) for n in rng.integers(0, 4, int(rng.integers(0, 6))))
        return {f"{name}.npy": npy(np.zeros(axes, array.dtype))}
    spoilt = array.astype(float) if array.dtype.kind == "f" else array.astype(np.int64)
    spoilt.flat[int(rng.integers(spoilt.size))] = rng.choice([-5, 2**40])
    return {f"{name}.npy": npy(spoilt)}


def npy(array: np.ndarray) -> bytes:
    """In numpy's format, objects pickled."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The beginning of a file in numpy's format that claims this shape."""
    told = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told
