"""Commands that say what there is: `list`, `data`."""

from pathlib import Path

from slots.cli.words import number, show_lines, split, take
from slots.config import Component, ConfigError, override


def data(words: list[str]) -> int:
    """`slots data check` and `slots data show`."""
    commands = {"check": _check, "show": _show}
    if not words or words[0] not in commands:
        raise ConfigError("Say slots data check PATH, or slots data show PRESET [key=value ...]")
    return commands[words[0]](words[1:])


def _check(words: list[str]) -> int:
    """Status 1 where something is missing or damaged."""
    from slots.data.check import check
    from slots.data.check_report import lines

    target, assignments, given = split(words, "file or folder", ["--quick"])
    if assignments:
        raise ConfigError(f"{assignments[0]!r} is no setting here.")
    report = check(Path(target), quick="--quick" in given)
    show_lines(lines(report))
    return 0 if report.sound else 1


def _show(words: list[str]) -> int:
    """Draws what a preset would train on or be evaluated on."""
    from slots import presets
    from slots.figures import write_scenes

    name, assignments, _ = split(words, "preset")
    out, wanted = take(assignments, "out") or "scenes.png", take(assignments, "split")
    count = number(take(assignments, "count"), "count", 12)
    config = override(presets.load(name), assignments)
    show_lines(write_scenes(config.data.make(), wanted or config.eval.split, count, Path(out)))
    return 0


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
