"""Property probes: what the frozen slots of a run tell of the objects they stand for."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from slots.config import ConfigError, to_data
from slots.evaluation.accumulate import over_seeds
from slots.evaluation.probe_fitting import Examples, Head, ProbeConfig, answer, fit
from slots.evaluation.probe_reading import Look, Seen, make_look, read
from slots.evaluation.probe_targets import PropertyScores, known, mean_and_scale, target
from slots.files import finite_or_none


@runtime_checkable
class Trained(Protocol):
    """What is probed: a `slots.runs.Run`, from a room above this one."""

    @property
    def experiment(self) -> Any:
        """With `config`, `dataset` and `definition`."""

    @property
    def state(self) -> Any:
        """Of a lone member."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each member."""

    def member(self, number: int) -> "Trained":
        """The run of one."""


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """Scores of the properties by name, for each member, and what they were measured on."""

    config: ProbeConfig
    seeds: tuple[int, ...]
    split: str
    train: int
    """Examples of the training stream. No held-out split has an example of it."""
    test: int
    members: tuple[Mapping[str, PropertyScores], ...]

    @property
    def names(self) -> list[str]:
        """Properties that all members were probed for."""
        return [name for name in self.members[0] if all(name in one for one in self.members)]

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON; null where a value is undefined."""
        return {
            "settings": to_data(self.config),
            "seeds": list(self.seeds),
            "split": self.split,
            "examples": {"train": self.train, "test": self.test, "shared": 0},
            "properties": {name: self._property(name) for name in self.names},
        }

    def lines(self) -> Iterator[str]:
        """What was done, then a line for every property."""
        config, first = self.config, self.members[0]
        by = f"{config.masks} masks" if config.matching == "masks" else "the probe's loss"
        yield (
            f"{config.kind} probe, slots matched by {by}: {self.train:,} examples of the training "
            f"stream, {self.test:,} of {self.split}, none in both"
        )
        width = max(map(len, self.names), default=0)
        for name in self.names:
            one = first[name]
            cells = [f"{metric} {self._text(name, metric)}" for metric in one.values]
            what = "classes" if one.kind == "categorical" else "wide"
            of = f"({one.size} {what}, {one.objects:,} objects)"
            yield f"  {name:<{width}}  {'  '.join(cells)}  {of}"

    def _over_members(self, name: str, metric: str) -> tuple[float, float, list[float]]:
        """Mean and standard deviation (ddof 1), and what they are of."""
        values = [scores[name].values[metric] for scores in self.members]
        return *over_seeds(values), values

    def _text(self, name: str, metric: str) -> str:
        mean, std, _ = self._over_members(name, metric)
        return f"{mean:.4f}" + ("" if math.isnan(std) else f" ± {std:.4f}")

    def _property(self, name: str) -> dict[str, Any]:
        one = self.members[0][name]
        values = {}
        for metric in one.values:
            mean, std, members = self._over_members(name, metric)
            values[metric] = finite_or_none({"mean": mean, "std": std, "members": members})
        kind = {"kind": one.kind, "size": one.size, "objects": one.objects}
        return {**kind, "metrics": values}


def probe(run: Trained, config: ProbeConfig) -> ProbeResult:
    """Fits a probe to each member's slots of training examples, and scores it on held-out ones.

    One probe tells all properties of the data set that some training object has: integers are
    classes, of which 0 says that it is not known; floats are numbers, and R² of a vector is the
    mean over its numbers. Objects are those that a label map shows (without maps: those marked
    visible). Inputs are the vectors of slots, without frames, standardised by the training
    examples'. Slots, split and first slots are those of the run's `eval` settings.

    Matched by masks, a slot and an object are paired for the largest sum of IoUs, and pairs without
    a common pixel dropped; what falls to a decoder's background has no slot.

    Raises:
        ConfigError: the data have no properties, or no label maps to match by, the model draws no
            masks, its slots are not finite, or the probe diverged.
    """
    look = jax.jit(make_look(run.experiment, config))
    seen = [_read(run.member(number), look, config) for number in range(len(run.seeds))]
    return ProbeResult(
        config=config,
        seeds=tuple(run.seeds),
        split=run.experiment.config.eval.split,
        train=len(seen[0][0].slots),
        test=len(seen[0][1].slots),
        members=tuple(probe_slots(train, test, config) for train, test in seen),
    )


def probe_slots(train: Seen, test: Seen, config: ProbeConfig) -> dict[str, PropertyScores]:
    """Fits a probe to slots and scores it on others; see `probe`.

    Properties that no training object has are left out.

    Raises:
        ConfigError: there is no other, or the probe diverged.
    """
    targets = {
        name: one
        for name, values in train.properties.items()
        if (one := target(values, train.objects)) is not None
    }
    if not targets:
        raise ConfigError("No property is known of any training object, so there is none to probe.")
    stops = itertools.accumulate(one.width for one in targets.values())
    heads = tuple(
        Head(stop - one.width, stop, one.categorical)
        for one, stop in zip(targets.values(), stops, strict=True)
    )
    mean, scale = mean_and_scale(train.slots.reshape(-1, train.slots.shape[-1]))

    def examples(seen: Seen) -> Examples:
        true = [one.encode(seen.properties[name]) for name, one in targets.items()]
        given = [seen.objects & known(seen.properties[name]) for name in targets]
        return Examples(
            slots=jnp.asarray((seen.slots - mean) / scale, jnp.float32),
            slot=jnp.asarray(seen.slot),
            objects=jnp.asarray(seen.objects),
            targets=jnp.asarray(np.concatenate(true, axis=-1)),
            known=jnp.asarray(np.stack(given, axis=-1)),
        )

    layers = fit(examples(train), heads, config)
    slot, told = jax.device_get(answer(layers, examples(test), heads, config))
    if not np.isfinite(told).all():
        raise ConfigError(f"The probe diverged; learning_rate={config.learning_rate} is too high.")
    scores = {}
    for (name, one), head in zip(targets.items(), heads, strict=True):
        values = test.properties[name]
        here = test.objects & known(values)
        said = told[here][:, head.start : head.stop]
        scores[name] = one.score(values[here], said, slot[here] >= 0)
    return scores


def _read(member: Trained, look: Look, config: ProbeConfig) -> tuple[Seen, Seen]:
    """Training and held-out examples."""
    dataset, settings = member.experiment.dataset, member.experiment.config.eval
    batch, there = settings.batch_size, dataset.size("train")
    count = config.train if there is None else min(config.train, there)
    held = min(config.test, dataset.size(settings.split))
    stream = itertools.islice(dataset.train(batch), -(-count // batch))
    held_out = dataset.held_out(settings.split, batch, held)
    train = read(look, member.state, stream, count, config.properties)
    return train, read(look, member.state, held_out, held, config.properties)
