"""Commands that say what there is: `list`, `data check`."""

from pathlib import Path

from slots.cli.words import show_lines, split
from slots.config import Component, ConfigError


def data(words: list[str]) -> int:
    """`slots data check PATH`; status 1 where something is missing or damaged."""
    from slots.data.check import check
    from slots.data.check_report import lines

    if not words or words[0] != "check":
        raise ConfigError("slots data has one command: slots data check PATH [--quick]")
    target, assignments, given = split(words[1:], "file or folder", ["--quick"])
    if assignments:
        raise ConfigError(f"{assignments[0]!r} is no setting here.")
    report = check(Path(target), quick="--quick" in given)
    show_lines(lines(report))
    return 0 if report.sound else 1


def everything(words: list[str]) -> int:
    """`slots list`."""
    if words:
        raise ConfigError(f"slots list takes no arguments, got {words[0]!r}.")
    from slots import presets
    from slots.data import DataConfig
    from slots.decoders import DecoderConfig
    from slots.encoders import EncoderConfig
    from slots.evaluation import PROTOCOLS
    from slots.initializers import InitializerConfig
    from slots.models import ModelConfig
    from slots.modules import SlotModuleConfig
    from slots.objectives import ObjectiveConfig

    print("presets (slots train NAME)")
    for name, path in presets.presets().items():
        print(f"  {name:<36} {presets.promise(path)}")
    families: dict[str, type[Component]] = {
        "model=": ModelConfig,
        "model.encoder=": EncoderConfig,
        "model.initializer=": InitializerConfig,
        "model.module=": SlotModuleConfig,
        "model.decoder=": DecoderConfig,
        "objectives": ObjectiveConfig,
        "data=": DataConfig,
    }
    for key, family in families.items():
        print(key)
        for name, cls in sorted(family.kinds.items()):
            print(f"  {name:<36} {(cls.__doc__ or '').splitlines()[0]}")
    print("protocol=")
    for name, one in PROTOCOLS.items():
        print(f"  {name:<36} {one.used_by}")
    return 0
