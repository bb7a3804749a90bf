"""Checks of sets that are files and folders of records."""

import dataclasses
import hashlib
import itertools
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slots.config import ConfigError
from slots.data import catalog
from slots.data.catalog import Published
from slots.data.check_report import (
    Finding,
    Report,
    all_there,
    as_problem,
    count_of,
    decode_some,
    fitted,
    length_of,
    named_splits,
    report_on,
    safely,
    stored_examples,
    timed,
)
from slots.data.factors import DspritesConfig, Shapes3dConfig
from slots.data.hdf5 import reading
from slots.data.multi_object import MultiObjectConfig
from slots.data.multi_object_layout import decode
from slots.data.pictures import BadFile, Size
from slots.data.stored import StoredConfig
from slots.data.tfds import TfdsConfig
from slots.data.tfds_features import Features
from slots.data.tfds_records import load_json
from slots.data.tfrecord import compression_of, iterate


def scene_file(path: Path, quick: bool) -> Report | None:
    """A file of the Multi-Object Datasets, by its name or else by its first record."""
    if path.suffix != ".tfrecords" or not path.is_file():
        return None
    every = catalog.SCENES.values()
    alike = [one for one in every if Path(one.archives["train"]).name == path.name]
    alike = alike or [one for one in every if _scenes(path, one, quick=True)[1][0].kind == "ok"]
    if not alike:
        return None
    about = alike[0]
    count, findings = _scenes(path, about, quick)
    if len(alike) > 1:
        findings.append(Finding("note", f"or {alike[1].name}, which is stored alike"))
    config = fitted(MultiObjectConfig(path=str(path), **about.settings), count)
    try:
        config.open("train")
    except ConfigError as error:  # too large for memory
        findings.append(Finding("note", str(error).rstrip(".")))
    return report_on(path, about, findings, config)


def _scenes(path: Path, about: Published, quick: bool) -> tuple[int, list[Finding]]:
    """How many scenes the file holds, or should hold, and what reading it showed."""
    variant, total = about.settings["variant"], about.counts["train"]
    done, record = 0, b""
    try:
        records = itertools.islice(iterate(path), 1 if quick else None)
        for record in timed(records, f"scenes of {path}", total):
            if done in (0, total // 2):
                decode(record, variant, path)
            done += 1
        if done:
            decode(record, variant, path)
    except BadFile as error:
        return total, [as_problem(error)]
    if quick and done:
        note = Finding("note", "quick: scenes are not counted, their check sum is not verified")
        return total, [Finding("ok", "the first scene is decoded"), note]
    whole = compression_of(path) == "gzip"
    sums = "read to its end, and its check sum is right" if whole else "not gzip: no check sum"
    return done, [count_of("scenes", done, total), Finding("ok" if whole else "note", sums)]


def prepared(path: Path, quick: bool) -> Report | None:
    """A version of a TFDS set, or what scripts/convert.py makes of one or of a file of scenes."""
    shards = (f for kind in ("tfrecord", "array_record") for f in path.glob(f"*.{kind}-*"))
    if not (path / "features.json").is_file() and next(shards, None) is None:
        return None
    sums = path / "checksums.json"
    findings = [*_checksums(sums, quick)] if sums.is_file() else []
    try:
        builder, splits = _described(path / "dataset_info.json")
    except ConfigError as error:
        told = "; scripts/convert.py goes on where its command is given again" * sums.is_file()
        findings.append(Finding("problem", f"{as_problem(error).text}{told}"))
        return Report(path=path, name="records of a set", findings=tuple(findings))
    files = os.listdir(path)
    here = {name: sum(f.startswith(f"{builder}-{name}.") for f in files) for name in splits}
    config: StoredConfig
    if builder in catalog.SCENES:
        about = catalog.SCENES[builder]
        config = MultiObjectConfig(path=str(path), **about.settings)
    else:
        about = catalog.PREPARED.get(builder, Published(name=f"{builder}, as TFDS prepares it"))
        if size := re.fullmatch(r"(\d+)x(\d+)", path.parent.name):
            about = dataclasses.replace(about, picture=(int(size[1]), int(size[2])))
        names = [name for name in splits if here[name]]
        settings = {**_pictures_in(path), **about.settings, **named_splits(TfdsConfig, names)}
        config = TfdsConfig(path=str(path), **settings)
    for name, count in splits.items():
        if here[name] < count:
            text = f"{name}: {here[name]:,} of {count:,} shards are here"
            findings.append(Finding("problem" if here[name] else "note", text))
        if here[name]:
            findings += stored_examples(config, name, about)
    if isinstance(config, MultiObjectConfig):
        config = fitted(config, length_of(config, "train"))
    return report_on(path, about, findings, config)


def _described(path: Path) -> tuple[str, dict[str, int]]:
    """Name of the set, and how many shards each split has.

    Raises:
        BadFile: `dataset_info.json` does not say it.
    """
    info = load_json(path)
    try:
        counts = {str(one["name"]): len(one.get("shardLengths", ())) for one in info["splits"]}
        return str(info["name"]), counts
    except (AttributeError, KeyError, TypeError) as error:
        raise BadFile(path, "does not describe splits as TFDS does") from error


def _pictures_in(path: Path) -> dict[str, Any]:
    """The setting that says which feature is the picture, if one is."""
    try:
        features = Features(path)
    except ConfigError:  # its reader will say so
        return {}
    for name in sorted(features.kinds, key=lambda name: name != "image"):
        try:
            features.picture("image", name)
            return {"image": name}
        except ConfigError:
            continue
    return {}


@safely
def _checksums(note: Path, quick: bool) -> Iterator[Finding]:
    """Whether files are those that scripts/convert.py wrote."""
    try:
        known = {name: str(one["sha256"]) for name, one in load_json(note)["files"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise BadFile(note, "does not hold check sums of files") from error
    yield all_there(known, note.parent, note.name)
    if quick:
        yield Finding("note", "quick: check sums are not verified")
        return
    there = [name for name in known if (note.parent / name).is_file()]
    wrong = 0
    for name in timed(there, f"files of {note.parent}", len(there)):
        file = note.parent / name
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != known[name]:
            wrong += 1
            yield Finding("problem", f"{file} was changed: its SHA-256 is not that in {note.name}")
    if not wrong:
        yield Finding("ok", f"SHA-256 of {len(there):,} files")


def factor_file(path: Path, quick: bool) -> Report | None:
    """3D Shapes or dSprites, by the file's name."""
    config: StoredConfig
    if path.name.startswith("3dshapes") and path.suffix in (".h5", ".hdf5"):
        about, config = catalog.SHAPES3D, Shapes3dConfig(path=str(path))
    elif path.name.startswith("dsprites") and path.suffix in (".h5", ".hdf5", ".npz"):
        about, config = catalog.DSPRITES, DspritesConfig(path=str(path))
    else:
        return None
    if path.suffix == ".npz":
        return report_on(path, about, _archive(path, about, quick), config)
    findings = [*_hdf5(path, about, config)]
    return report_on(path, about, findings, fitted(config, length_of(config, "all")))


@safely
def _hdf5(path: Path, about: Published, config: StoredConfig) -> Iterator[Finding]:
    """Single pictures, where the reader might unpack all of them (see `hdf5.Rows`)."""
    yield count_of("pictures", len(config.open("all")), about.counts["all"])
    import h5py

    with reading(path), h5py.File(path) as file:
        pictures = next(one for one in file.values() if getattr(one, "ndim", 0) > 2)

        def read(row: int) -> Size:
            with reading(path):
                height, width = pictures[row].shape[:2]
                return height, width

        yield from decode_some("pictures", len(pictures), read, about.picture)


@safely
def _archive(path: Path, about: Published, quick: bool) -> Iterator[Finding]:
    """The npz of dSprites, whose pictures take 3 GB of memory once they are read."""
    with reading(path), zipfile.ZipFile(path) as archive:
        archive.getinfo("latents_values.npy")
        with archive.open("imgs.npy") as member:
            np.lib.format.read_magic(member)
            shape, _, _ = np.lib.format.read_array_header_1_0(member)
        yield count_of("pictures", shape[0], about.counts["all"])
        if shape[1:] != about.picture:
            yield Finding("problem", f"{path} holds arrays {list(shape)}, not pictures of 64x64")
        if quick:
            yield Finding("note", "quick: check sums are not verified")
        elif wrong := archive.testzip():
            yield Finding("problem", f"{path} is damaged: the check sum of {wrong} is wrong")
        else:
            yield Finding("ok", "read to its end, and its check sums are right")
