"""Commands that score: `eval`, `score`, `probe`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from slots.cli.words import restore, show_lines, split, take, two_after
from slots.config import ConfigError, override
from slots.files import finite_or_none


def evaluate(words: list[str]) -> int:
    """`slots eval`."""
    from slots import rescoring, runs, scores
    from slots.evaluation import protocol

    words, protocols = two_after(words, "--explain")
    masks = take(words, "masks")
    run, given, count = restore(words, ["--json", "--references"])
    if count is not None:
        raise ConfigError("count= belongs to show; say eval.count= here.")
    if protocols:
        if masks is not None or "--references" in given:
            raise ConfigError("--explain goes with neither masks= nor --references.")
        switches = rescoring.explain_run(run, *map(protocol, protocols))
        return _explain(switches, "--json" in given)
    saved = rescoring.save_masks(run, Path(masks)) if masks is not None else []
    result = runs.evaluate(run)
    references = runs.references(run) if "--references" in given else {}
    if "--json" in given:
        found = {"run": str(run.folder), "step": run.step, **scores.as_data(result, run.seeds)}
        if references:
            found["references"] = _references(references)
        print(json.dumps(found))
        return 0
    print(f"{run.folder} at step {run.step:,}, {scores.describe(result, run.seeds)}")
    show_lines(scores.lines(result, run.seeds), scores.reference_lines(references))
    show_lines(map(str, saved))
    return 0


def score(words: list[str]) -> int:
    """`slots score`, of masks or of a detector's results."""
    from slots import rescoring, scores
    from slots.evaluation import merge, protocol
    from slots.evaluation.mask_files import read_masks, score_masks

    words, protocols = two_after(words, "--explain")
    names = [word for word in words if "=" not in word and not word.startswith("-")]
    if names and names[0].endswith(".json"):
        return _detections(words)
    rest = [word for word in words if word not in names[1:]]
    _, assignments, given = split(rest, "file of masks", ["--json", "--references"])
    truth, name = take(assignments, "truth"), take(assignments, "protocol")
    if assignments:
        raise ConfigError(f"{assignments[0]!r} is no setting here; there are protocol= and truth=.")
    known = None if truth is None else Path(truth)
    files = [read_masks(Path(path), known) for path in names]

    def score(by: Any) -> Any:
        return merge([score_masks(file, by) for file in files])

    if protocols:
        from slots.evaluation.explain import explain

        if name is not None or "--references" in given:
            raise ConfigError("--explain goes with neither protocol= nor --references.")
        return _explain(explain(score, *map(protocol, protocols)), "--json" in given)
    by = protocol(name or "house/image")
    result = score(by)
    references = rescoring.file_references(files[0], by) if "--references" in given else {}
    if "--json" in given:
        found = {"files": names, **scores.as_data(result, range(len(files)))}
        if references:
            found["references"] = _references(references)
        print(json.dumps(found))
        return 0
    print(f"{' '.join(names)}, {scores.describe(result)}")
    show_lines(scores.lines(result), scores.reference_lines(references))
    return 0


def _detections(words: list[str]) -> int:
    """Average precision of a detector's results in COCO's format."""
    from slots.evaluation.detection import detection_ap, result_kinds

    results, assignments, given = split(words, "file of results", ["--json"])
    truth, name = take(assignments, "truth"), take(assignments, "protocol")
    if truth is None or assignments or name not in (None, "transfer/coco-1x"):
        raise ConfigError("Results are scored as: slots score RESULTS.json truth=ANNOTATIONS.json")
    found = {
        kind: detection_ap(Path(truth), Path(results), kind) for kind in result_kinds(Path(results))
    }
    if "--json" in given:
        data = {"file": results, "protocol": "transfer/coco-1x", "metrics": found}
        print(json.dumps(finite_or_none(data)))
        return 0
    for kind, values in found.items():
        of = f"{values.pop('pictures'):,.0f} pictures, {values.pop('annotations'):,.0f} objects"
        print(f"{results}, protocol transfer/coco-1x, {kind}, {of}")
        show_lines(f"  {name:<6} {value:.4f}" for name, value in values.items())
    return 0


def probe(words: list[str]) -> int:
    """`slots probe`."""
    from slots.evaluation.probes import ProbeConfig, probe

    own = {field.name for field in dataclasses.fields(ProbeConfig)}
    mine = [word for word in words if word.partition("=")[0] in own]
    run, given, count = restore([word for word in words if word not in mine], ["--json"])
    if count is not None:
        raise ConfigError("count= belongs to show; say test= here.")
    result = probe(run, override(ProbeConfig(), mine))
    if "--json" in given:
        print(json.dumps({"run": str(run.folder), "step": run.step, **result.as_data()}))
        return 0
    print(f"{run.folder} at step {run.step:,}")
    show_lines(result.lines())
    return 0


def _explain(switches: list[Any], as_json: bool) -> int:
    from slots import scores

    if as_json:
        print(json.dumps(scores.explained_data(switches)))
    else:
        show_lines(scores.explained(switches))
    return 0


def _references(references: dict[str, Any]) -> dict[str, Any]:
    from slots import scores

    return {name: scores.as_data(one, ())["metrics"] for name, one in references.items()}
