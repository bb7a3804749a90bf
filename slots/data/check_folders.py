"""Checks of sets that are folders of pictures."""

import dataclasses
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slots.config import ConfigError
from slots.data import catalog
from slots.data.catalog import Published
from slots.data.check_report import (
    LISTED,
    Finding,
    Report,
    a_few,
    all_there,
    as_problem,
    count_of,
    decode_some,
    fitted,
    length_of,
    named_splits,
    not_here,
    report_on,
    safely,
    stored_examples,
    timed,
)
from slots.data.clevr import ClevrConfig, read_scenes
from slots.data.clevr_hans import ClevrHansConfig
from slots.data.clevrtex import ClevrTexConfig
from slots.data.coco import UNLABELLED, CocoConfig
from slots.data.coco_masks import read_annotations
from slots.data.folder import FolderConfig
from slots.data.folder_layout import SPLITS, Record, find_splits
from slots.data.pictures import ENDINGS, Size, load_labels, load_picture
from slots.data.records import first_words
from slots.data.shapestacks import ShapeStacksConfig
from slots.data.stored import StoredConfig
from slots.data.voc import VocConfig


def clevr(path: Path, quick: bool) -> Report | None:
    """CLEVR v1.0, if it is that."""
    notes = {f.stem[6:-7]: f for f in sorted(path.glob("scenes/CLEVR_*_scenes.json"))}
    folders = {f.name: f for f in path.glob("images/*/") if any(f.glob("CLEVR_*.png"))}
    if not notes and not folders:
        return None
    config = ClevrConfig(path=str(path), **named_splits(ClevrConfig, folders))
    findings = [*not_here(catalog.CLEVR, folders)]
    for name, folder in sorted(folders.items()):
        if name not in notes and not name.startswith("test"):  # which nobody has described
            note = path / "scenes" / f"CLEVR_{name}_scenes.json"
            findings.append(Finding("problem", f"{note} is missing"))
        findings += _described_pictures(config, name, folder, notes.get(name), catalog.CLEVR)
    return report_on(path, catalog.CLEVR, findings, config)


def clevr_hans(path: Path, quick: bool) -> Report | None:
    """CLEVR-Hans3 or CLEVR-Hans7, if it is that."""
    notes = {n: path / n / f"CLEVR_HANS_scenes_{n}.json" for n in ("train", "val", "test")}
    here = [name for name, note in notes.items() if note.parent.is_dir()]
    if not any(note.is_file() for note in notes.values()):
        return None
    config = ClevrHansConfig(path=str(path), **named_splits(ClevrHansConfig, here))
    classes = re.findall(r"classid_(\d)", " ".join(f.name for f in path.glob("*/images/*.png")))
    about = catalog.CLEVR_HANS[
        7 if path.name.endswith("7") or max(classes, default="") > "2" else 3
    ]
    findings = [*not_here(about, here)]
    for name in here:
        findings += _described_pictures(config, name, path / name / "images", notes[name], about)
    return report_on(path, about, findings, config)


@safely
def _described_pictures(
    config: StoredConfig, name: str, folder: Path, note: Path | None, about: Published
) -> Iterator[Finding]:
    """Pictures with a file of scenes; where its reader stops at the first that is missing, all."""
    findings = [*stored_examples(config, name, about)]
    yield from findings
    if note is not None and any(finding.kind == "problem" for finding in findings):
        yield all_there(read_scenes(note), folder, note.name)


def clevrtex(path: Path, quick: bool) -> Report | None:
    """A variant of CLEVRTex, if it is that."""
    stem, _, variant = path.name.partition("_")
    if stem != "clevrtex" or variant not in catalog.CLEVRTEX or not path.is_dir():
        return None
    about = catalog.CLEVRTEX[variant]
    config = ClevrTexConfig(path=str(path), **about.settings)
    findings = [*stored_examples(config, "all", about)]
    return report_on(path, about, findings, fitted(config, length_of(config, "all")))


def shapestacks(path: Path, quick: bool) -> Report | None:
    """ShapeStacks, if it is that."""
    lists = {f"{f.parent.name}/{f.stem}": f for f in sorted(path.glob("splits/*/*.txt"))}
    if not (path / "recordings").is_dir() or not (lists or any(path.glob("recordings/env_*"))):
        return None
    config = ShapeStacksConfig(path=str(path), **named_splits(ShapeStacksConfig, lists))
    findings = [f for name in lists for f in _stacks(config, name, lists[name])]
    if not lists:
        missing = path / "splits" / "default" / "train.txt"
        findings.append(Finding("problem", f"{missing} is missing, and every other list"))
    return report_on(path, catalog.SHAPESTACKS, findings, config)


@safely
def _stacks(config: StoredConfig, name: str, note: Path) -> Iterator[Finding]:
    """The scenarios of a list; every camera that took pictures should have a map of instances."""
    root, listed = Path(config.path), first_words(note)
    whole = all_there(listed, root / "recordings", name)
    yield whole
    if whole.kind != "ok":
        return
    yield from stored_examples(config, name, catalog.SHAPESTACKS)
    absent, cameras = [], 0
    for scenario in listed:
        places = [root / folder / scenario for folder in ("recordings", "iseg")]
        files = [file for place in places if place.is_dir() for file in os.listdir(place)]
        seen = {m[1] for f in files if (m := re.fullmatch(r"rgb-.*(cam_\d+-mono-0)\.png", f))}
        maps = {camera: f"iseg-w=0-f=0-l=0-c=original-{camera}.map" for camera in sorted(seen)}
        absent += [f"{scenario}/{file}" for file in maps.values() if file not in files]
        cameras += len(seen)
    if absent and len(absent) == cameras:
        yield Finding("note", f"{name}: no maps of instances, which the publisher has apart")
    elif absent:
        yield Finding("problem", f"{name}: {len(absent):,} maps are missing: {a_few(absent)}")


def coco(path: Path, quick: bool) -> Report | None:
    """COCO 2017 or a set in its layout, if it is that."""
    has: dict[str, dict[str, Path]] = {
        kind: {f.stem.removeprefix(f"{kind}_"): f for f in path.glob(f"annotations/{kind}_*.json")}
        for kind in ("instances", "panoptic")
    }
    has["stuff"] = {f.name: f for f in path.glob("stuffthingmaps/*/")}
    named = {*catalog.COCO.counts, *(name for kind in has.values() for name in kind)}
    folders = [name for name in sorted(named) if (path / name).is_dir()]
    if not folders:
        return None
    known = catalog.COCO.counts.keys() & set(folders)
    about = catalog.COCO if known else Published(name="a set in the layout of COCO")
    findings = [*not_here(about, {*folders, *(kind for kind in has if has[kind])})]
    for name in folders:
        kinds = [] if name in UNLABELLED else [kind for kind in has if has[kind]]
        for kind in kinds or ["none"]:
            findings += _annotated(path, name, kind, has.get(kind, {}).get(name), about)
    labelled = [name for name in folders if name not in UNLABELLED]
    every = [kind for kind in has if labelled and all(name in has[kind] for name in labelled)]
    annotations: Any = (*every, "none")[0]
    splits = named_splits(CocoConfig, folders)
    config = CocoConfig(path=str(path), annotations=annotations, **splits)
    return report_on(path, about, findings, config)


@safely
def _annotated(
    root: Path, name: str, kind: Any, note: Path | None, about: Published
) -> Iterator[Finding]:
    """Pictures with one kind of annotation, or with none of them."""
    if kind != "none" and note is None:
        place = f"stuffthingmaps/{name}" if kind == "stuff" else f"annotations/{kind}_{name}.json"
        yield Finding("problem", f"{root / place} is missing, though there are others")
        return
    config = CocoConfig(path=str(root), annotations=kind)
    if note is not None and kind == "stuff":
        files = [f for f in os.listdir(root / name) if f.lower().endswith(ENDINGS)]
        yield all_there([f"{Path(f).stem}.png" for f in files], note, name)
    elif note is not None:
        _, pictures = read_annotations(note, panoptic=kind == "panoptic")
        yield all_there([one.file_name for one in pictures], root / name, note.name)
        if kind == "panoptic":
            maps = [one.map_name for one in pictures if one.map_name]
            yield all_there(maps, note.with_suffix(""), note.name)
    what = "pictures alone" if kind == "none" else kind
    yield from stored_examples(config, name, about, f"{name}, {what}")


def voc(path: Path, quick: bool) -> Report | None:
    """Pascal VOC or a set in its layout, if it is that."""
    lists, masks = path / "ImageSets", path / "SegmentationObject"
    signs = (masks, lists / "Segmentation", lists / "Main")
    if not (path / "JPEGImages").is_dir() or not any(sign.is_dir() for sign in signs):
        return None
    genuine = any(re.fullmatch(r"\d{4}_\d{6}\.jpg", f) for f in os.listdir(path / "JPEGImages"))
    about = catalog.VOC if genuine else Published(name="a set in the layout of Pascal VOC")
    masked = {f.stem: f for f in sorted((lists / "Segmentation").glob("*.txt"))}
    boxed = {f.stem: f for f in sorted((lists / "Main").glob("*.txt")) if "_" not in f.stem}
    kind: Any = "boxes" if boxed and not masked and not masks.is_dir() else "masks"
    findings: list[Finding] = []
    if kind == "masks":
        needed = {*about.counts} - {*about.archives} if masked or genuine else {"train"}
        findings += not_here(about, {*masked, *needed})
        absent = [str(lists / "Segmentation" / f"{n}.txt") for n in sorted(needed - {*masked})]
        findings += [Finding("problem", f"{file} is missing") for file in absent]
    for file in masked.values():
        findings += _voc_list(VocConfig(path=str(path)), file, about)
    for file in boxed.values():
        config = VocConfig(path=str(path), annotations="boxes")
        findings += _voc_list(config, file, dataclasses.replace(about, counts={}))
    splits = named_splits(VocConfig, masked or boxed)
    return report_on(path, about, findings, VocConfig(path=str(path), annotations=kind, **splits))


@safely
def _voc_list(config: VocConfig, file: Path, about: Published) -> Iterator[Finding]:
    """The pictures of a list, with boxes or, if any has a mask of instances, with masks."""
    root, names = Path(config.path), first_words(file)
    yield all_there([f"{name}.jpg" for name in names], root / "JPEGImages", file.name)
    if config.annotations == "boxes":
        yield all_there([f"{name}.xml" for name in names], root / "Annotations", file.name)
    elif file.stem in about.archives or not any(
        (root / "SegmentationObject" / f"{name}.png").exists() for name in names
    ):
        yield Finding("note", f"{file.stem}: pictures alone, without masks of instances")
    else:
        for folder in ("SegmentationClass", "SegmentationObject"):
            yield all_there([f"{name}.png" for name in names], root / folder, file.name)
    what = f"{file.stem}, {config.annotations}"
    yield from stored_examples(config, file.stem, about, what)


def converted_folder(path: Path, quick: bool) -> Report | None:
    """What scripts/to_folder.py makes."""
    notes = [path / split / "made_by.txt" for split in SPLITS]
    made_by = next((f.read_text(errors="replace") for f in notes if f.is_file()), "")
    kind, _, crop = made_by.partition(" ")
    if kind not in catalog.CONVERTED:
        return None
    about = catalog.CONVERTED[kind]
    if crop:
        about = dataclasses.replace(about, picture=None)
    return picture_folder(path, splits_of(path), about, quick)


_Splits = Mapping[str, Sequence[Record]]


def splits_of(path: Path) -> _Splits:
    """Those of a folder of pictures; none if it is no such folder."""
    try:
        return find_splits(str(path), held_out_fraction=0.0)
    except (ConfigError, OSError):
        return {}


def picture_folder(path: Path, splits: _Splits, about: Published, quick: bool) -> Report:
    """What the splits of a plain folder of pictures hold."""
    findings = [f for name in splits for f in _records(name, splits[name], about, quick)]
    return report_on(path, about, findings, FolderConfig(path=str(path)))


@safely
def _records(
    name: str, records: Sequence[Record], about: Published, quick: bool
) -> Iterator[Finding]:
    """Pictures of a split, and masks of the same names and sizes if it has any."""
    what = f"{name}, with masks" if records[0].labelled else name
    yield count_of(what, len(records), about.counts.get(name))
    unpaired = [record for record in records if record.labelled and record.mask is None]
    looked = timed(unpaired if quick else records, f"pictures of {name}", len(records))
    bad = {record: problem for record in looked if (problem := record.problem())}
    yield from map(as_problem, itertools.islice(bad.values(), LISTED))
    if len(bad) > LISTED:
        yield Finding("problem", f"{len(bad) - LISTED:,} more pictures of {name} are bad")
    if quick:
        yield Finding("note", f"{name}, quick: sizes of pictures and masks are not compared")
    good = [record for record in records if record not in bad]

    def read(row: int) -> Size:
        if problem := good[row].problem():
            raise problem
        if (mask := good[row].mask) is not None:
            load_labels(mask)
        height, width, _ = load_picture(good[row].picture, 3).shape
        return height, width

    yield from decode_some(what, len(good), read, about.picture)
