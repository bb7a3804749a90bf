"""Converts published data sets to folders of ArrayRecord files, whose records can be picked.

    python scripts/convert.py multi_object --variant clevr_with_masks FILE.tfrecords OUT
    python scripts/convert.py tfds movi_a/128x128/1.0.0 OUT

`multi_object` reads a file of the Multi-Object Datasets, which is compressed as a whole. It writes
of every scene a PNG picture, a PNG of each pixel's entity (as stored: Objects Room's backgrounds
stay apart), `visibility` and the factors, and `visibility.npy`, which has that of all scenes.
`tfds` copies the records of a folder that tensorflow-datasets wrote as TFRecord, their bytes
unchanged; a split with no file there is left out. Both write what `slots` reads, and
`tfds.builder_from_directory(OUT).as_data_source(split)`.

The command can be stopped at any time and given again: it goes on after the last whole shard. A
`checksums.json` holds the number of records and the SHA-256 of every file.
"""

import argparse
import io
import itertools
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from array_records import TEMPLATE, Progress, ShardFolder

from slots.config import ConfigError
from slots.data.multi_object_layout import LAYOUTS, VISIBILITY, Layout, Variant, decode
from slots.data.pictures import BadFile
from slots.data.tfds_features import loadable
from slots.data.tfds_records import load_json
from slots.data.tfrecord import iterate, parse

SHARD_BYTES = 2**28
"""What a shard's scenes take once decoded."""


def convert_multi_object(source: Path, out: Path, variant: Variant) -> None:
    if not source.is_file():
        raise BadFile(source, "is no file")
    length = max(1, SHARD_BYTES // LAYOUTS[variant].dtype.itemsize)
    made_from = {"name": source.name, "bytes": source.stat().st_size}
    folder = ShardFolder(out, made_from | {"variant": variant, "records_per_shard": length})
    if folder.complete:
        return
    stem = f"{variant}-train.array_record"
    features, encode = _encoder(LAYOUTS[variant])
    _write_scenes(source, variant, folder, stem, length, encode)
    shards = sorted(name for name in folder.files if name.startswith(stem))
    if not shards:
        raise BadFile(source, "holds no records")
    folder.put(VISIBILITY, _visibility(folder, shards))
    split = {
        "name": "train",
        "filepathTemplate": TEMPLATE,
        "numBytes": str(sum(map(folder.size, shards))),
        "shardLengths": [str(folder.files[name]["records"]) for name in shards],
    }
    info = {
        "name": variant,
        "version": "1.0.0",
        "description": "Multi-Object Datasets (Kabra et al. 2019), converted from the published "
        "file; `entities` is the entity of each pixel.",
        "fileFormat": "array_record",
        "splits": [split],
    }
    folder.finish(info, features)


def _write_scenes(
    source: Path,
    variant: Variant,
    folder: ShardFolder,
    stem: str,
    length: int,
    encode: Callable[[np.void], bytes],
) -> None:
    """Shards of `length` scenes each, from the first one on that is not whole."""
    whole = list(itertools.takewhile(folder.has, (f"{stem}-{n:05d}" for n in itertools.count())))
    done = sum(folder.files[name]["records"] for name in whole)
    records = itertools.islice(iterate(source), done, None)
    scenes = (encode(decode(record, variant, source)) for record in records)
    scenes = Progress(done, LAYOUTS[variant].records).of(scenes)
    for number in itertools.count(len(whole)):
        shard = itertools.islice(scenes, length)
        first = next(shard, None)
        if first is None:
            return
        folder.write(f"{stem}-{number:05d}", itertools.chain([first], shard))


def _visibility(folder: ShardFolder, shards: list[str]) -> bytes:
    records = itertools.chain.from_iterable(map(folder.read, shards))
    table = io.BytesIO()
    np.save(table, np.array([parse(r, folder.folder)["visibility"] for r in records], np.uint8))
    return table.getvalue()


def _encoder(layout: Layout) -> tuple[dict[str, Any], Callable[[np.void], bytes]]:
    """Content of `features.json`, and how a scene becomes a record."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.example_serializer import ExampleSerializer
    from tensorflow_datasets.proto import tf_example_pb2

    pictures = {"image": layout.picture, "entities": (*layout.picture[:2], 1)}
    factors = [name for name in layout.dtype.names or () if name not in pictures]
    kinds: dict[str, Any] = {
        name: tfds.features.Image(shape=shape, encoding_format="png")
        for name, shape in pictures.items()
    }
    for name in factors:
        field = layout.dtype[name]
        kinds[name] = tfds.features.Tensor(shape=field.shape, dtype=field.base.type)
    features = tfds.features.FeaturesDict(kinds)
    serializer = ExampleSerializer(features.get_serialized_info())

    def encode(scene: np.void) -> bytes:
        values = {name: _png(scene[name]) for name in pictures}
        values |= {name: scene[name] for name in factors}
        record = serializer.serialize_example(features.encode_example(values))
        # Otherwise every process would have features in another order, and other check sums.
        example = tf_example_pb2.Example.FromString(record)
        return bytes(example.SerializeToString(deterministic=True))

    return features.to_json(), encode


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    flat = picture[..., 0] if picture.shape[2:] == (1,) else picture
    # Three times as fast as Pillow's default, and a tenth larger.
    Image.fromarray(np.ascontiguousarray(flat)).save(file, "PNG", compress_level=3)
    return file.getvalue()


def convert_tfds(source: Path, out: Path) -> None:
    info, features = (load_json(source / f"{name}.json") for name in ("dataset_info", "features"))
    splits, shards = _shards(source, info)
    size = sum(path.stat().st_size for path, _ in shards.values())
    made_from = {"name": "/".join(source.absolute().parts[-3:]), "bytes": size}
    folder = ShardFolder(out, made_from | {"splits": [split["name"] for split in splits]})
    if folder.complete:
        return
    left = {name: shard for name, shard in shards.items() if not folder.has(name)}
    total = sum(count for _, count in shards.values())
    progress = Progress(total - sum(count for _, count in left.values()), total)
    for name, (path, count) in left.items():
        folder.write(name, progress.of(_exactly(path, count)))
    for names_of_classes in source.glob("*.txt"):
        folder.put(names_of_classes.name, names_of_classes.read_bytes())
    info |= {"fileFormat": "array_record", "splits": splits}
    folder.finish(info, loadable(features))


def _shards(
    source: Path, info: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, tuple[Path, int]]]:
    """Splits that have files, and by name of each new shard the old one and its records."""
    note, splits, shards = source / "dataset_info.json", [], {}
    try:
        if info.get("fileFormat", "tfrecord") != "tfrecord":
            raise BadFile(note, f"says that the records are {info['fileFormat']}, not tfrecord")
        for split in info["splits"]:
            lengths = [int(length) for length in split["shardLengths"]]
            stem, total = f"{info['name']}-{split['name']}", len(lengths)
            paths = [source / f"{stem}.tfrecord-{n:05d}-of-{total:05d}" for n in range(total)]
            absent = [path for path in paths if not path.is_file()]
            if len(absent) == total:
                print(f"{source} has no file of {split['name']!r}, which is left out.")
                continue
            if absent:
                raise BadFile(absent[0], f"does not exist; {len(absent)} of {total} are missing")
            splits.append(split | {"filepathTemplate": TEMPLATE})
            for number, shard in enumerate(zip(paths, lengths, strict=True)):
                shards[f"{stem}.array_record-{number:05d}"] = shard
    except (LookupError, TypeError, AttributeError) as error:
        raise BadFile(note, "does not say which shards there are") from error
    if not splits:
        raise BadFile(source, "has no TFRecord file of a split")
    return splits, shards


def _exactly(path: Path, count: int) -> Iterator[bytes]:
    """The file's records, if it is as long as it should be."""
    found = 0
    for record in iterate(path):
        yield record
        found += 1
    if found != count:
        raise BadFile(path, f"holds {found:,} records, but dataset_info.json says {count:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("multi_object", help="a file of the Multi-Object Datasets")
    one.add_argument("--variant", choices=typing.get_args(Variant), required=True)
    other = commands.add_parser("tfds", help="a TFRecord folder of tensorflow-datasets")
    for command in (one, other):
        command.add_argument("source", type=Path)
        command.add_argument("out", type=Path, help="folder; one that was begun is gone on with")
    options = parser.parse_args()
    try:
        if options.command == "multi_object":
            convert_multi_object(options.source, options.out, options.variant)
        else:
            convert_tfds(options.source, options.out)
    except ConfigError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or options.out} cannot be used ({error.strerror}).")
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on after the last whole shard.")
    print(f"{options.out} is complete.")


if __name__ == "__main__":
    main()
