"""Few-shot adaptation: a model trained on one task of digits learns another by its head alone.

    python scripts/adapt.py                                     all of it, or what is still missing
    python scripts/adapt.py --methods cosa --tasks add diff --seeds 3 --steps 10 100
    python scripts/adapt.py --share 0 2                         every second run, for two cores

Everything but the head is frozen, the dictionary's moving averages too. The head starts as it was
trained, but for its last layer, which has another number of classes. A run of several seeds on each
task is in `runs/adapt/`; it goes on where it was stopped. What is finished leaves a record in
`docs/results/adapt/` and is read back from there: remove the record (and the run) to repeat it. The
table, beside the records, holds what is finished; rows without steps are the trained runs.
"""

import argparse
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

import slots
from slots import presets
from slots.conditions import Condition, cell, table, train_missing, write_table
from slots.config import ConfigError, override, replace
from slots.data.digits import CLASSES
from slots.evaluation import Evaluator, merge
from slots.evaluation.evaluation import measured_by
from slots.experiment import build
from slots.files import write_whole
from slots.provenance import commit
from slots.runs import Run
from slots.training import OptimizerConfig, ParamRule, use_compilation_cache
from slots.training.members import each
from slots.types import TrainState

FOLDER = Path("runs/adapt")
METHODS = {"slot_attention": "no dictionary", "cosa": "CoSA"}
TASKS = tuple(CLASSES)
METRICS = {"accuracy": 3, "macro_f1": 3, "hmc": 3}
"""Columns and their digits."""
OPTIMIZER = OptimizerConfig(
    learning_rate=1e-3,
    warmup_steps=0,
    decay="constant",
    rules=(ParamRule(pattern="(?!head/).*", frozen=True),),
)
BATCH_SIZE = 16


def condition(method: str, task: str, seeds: int, settings: list[str], out: Path) -> Condition:
    name, preset = f"{task}-{method}", f"{method}/digits_cpu"
    changes = [*settings, f"data.task={task}", f"train.seeds={seeds}"]
    digits = override(presets.load(preset), settings).data.num_digits
    changes.append(f"model.classes={CLASSES[task][digits]}")
    return Condition(preset, tuple(changes), FOLDER / name, out / f"{name}.json")


class Adaptation:
    """To one task in so many steps; compiled once for all that is adapted to it."""

    def __init__(self, target: Condition, steps: int):
        self.experiment = build(
            replace(
                target.config,
                optimizer=OPTIMIZER,
                train__steps=steps,
                train__batch_size=BATCH_SIZE,
            )
        )
        self.steps, trainer = steps, self.experiment.trainer
        self._update = jax.jit(trainer.update())
        config = self.experiment.config.eval
        self._evaluate = Evaluator(
            self.experiment.definition, self.experiment.dataset, config, trainer.mesh
        )

    def __call__(self, source: Run) -> dict[str, Any]:
        """Adapts every member of a run and evaluates them."""
        fresh = each(self.experiment.trainer.init())
        adapted = [self._adapt(i, state, source.member(i)) for i, state in enumerate(fresh)]
        found = merge([self._evaluate(state.params, state.variables) for state in adapted])
        return {name: one.as_dict() for name, one in found.statistics.items()}

    @property
    def protocol(self) -> str:
        """That scores are by."""
        return self.experiment.config.eval.protocol

    def _adapt(self, number: int, fresh: TrainState, source: Run) -> TrainState:
        member = self.experiment.member(number)
        head = {**source.params["head"], "output": fresh.params["head"]["output"]}
        variables = each(source.state)[0].variables
        state = dataclasses.replace(fresh, params={**source.params, "head": head})
        seed = np.uint32(member.config.train.seed)
        for batch in itertools.islice(member.trainer.batches(0), self.steps):
            # Frozen too: what moves without gradients starts every step as it was trained.
            state, _ = self._update(dataclasses.replace(state, variables=variables), batch, seed)
        return dataclasses.replace(state, variables=variables)


def note(source: Condition, target: str, steps: int) -> Path:
    """Where the result of an adaptation is."""
    return source.record.with_name(f"{source.record.stem}-to-{target}-{steps}.json")


def results(
    conditions: dict[tuple[str, str], Condition], steps: list[int]
) -> list[tuple[str, str, str, int, dict[str, Any]]]:
    """Method, source, target, steps and values of what is finished."""
    found = []
    for (method, source), one in conditions.items():
        trained = one.result()
        if trained is None:
            continue
        found.append((method, source, source, 0, trained))
        for target, count in itertools.product(TASKS, steps):
            path = note(one, target, count)
            if (method, target) in conditions and path.exists():
                found.append((method, source, target, count, json.loads(path.read_text())))
    return found


def adapt(
    conditions: dict[tuple[str, str], Condition], wanted: list[tuple[tuple[str, str], int]]
) -> None:
    """Adapts to each wanted method, task and number of steps what is trained on other tasks."""
    for (method, target), count in wanted:
        missing = [
            one
            for (other, source), one in conditions.items()
            if other == method
            and source != target
            and one.result() is not None
            and not note(one, target, count).exists()
        ]
        if not missing:
            continue
        adaptation = Adaptation(conditions[method, target], count)
        for one in missing:
            print(f"{one.folder} to {target} in {count} steps", flush=True)
            values = adaptation(slots.restore(one.folder))
            seeds = list(one.config.train.member_seeds)
            about = {"protocol": adaptation.protocol, "seeds": seeds, "commit": commit()}
            record = json.dumps({**values, **about})
            write_whole(note(one, target, count), record + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="+", default=[10], help="of adaptation")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("I", "OF"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/adapt"))
    options = parser.parse_args()
    if min(options.steps) < 1:
        parser.error("--steps must be at least 1.")
    use_compilation_cache()
    share, of = options.share
    try:
        conditions = {
            (method, task): condition(method, task, options.seeds, options.settings, options.out)
            for method in options.methods
            for task in options.tasks
        }
        train_missing(conditions.values(), share, of)
        # Adapting needs the trained runs, which a record may have outlived.
        adapt(conditions, list(itertools.product(conditions, options.steps))[share::of])
    except ConfigError as error:
        parser.error(str(error))
    heads = ["slots", "trained on", "task", "steps", *METRICS, "measured by", "commit"]
    rows = [
        [
            METHODS[method],
            source,
            target,
            count or "–",
            *(cell(values.get(name), digits) for name, digits in METRICS.items()),
            measured_by(values, values["seeds"]),
            values["commit"],
        ]
        for method, source, target, count, values in results(conditions, options.steps)
    ]
    if rows:
        write_table(options.out / "table.md", table(heads, rows))


if __name__ == "__main__":
    main()
