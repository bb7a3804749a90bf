"""Values of the public known-answer file."""

import functools

import numpy as np
import pytest

from slots import metrics

pytestmark = [pytest.mark.data, pytest.mark.parity]

NUMBER = 16  # static number of labels, so that all cases share compiled functions
IMAGES = range(10)
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def cases(shared_data):
    return np.load(shared_data / "metrics" / "metric_examples.npz")


def read(cases, name):
    """The inputs and the answers of one case."""
    found = {k.removeprefix(f"{name}/"): cases[k] for k in cases.files if k.startswith(f"{name}/")}
    assert found, f"no case {name}"
    prefix = "answer/"
    answers = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
    return {k: v for k, v in found.items() if not k.startswith(prefix)}, answers


def of_table(counts):
    """What the answers call each value of a table."""
    ari = functools.partial(metrics.adjusted_rand_index_from_counts, counts)
    mbo = functools.partial(metrics.mean_best_overlap_from_counts, counts)
    miou = functools.partial(metrics.mean_iou_from_counts, counts)
    covering = functools.partial(metrics.segmentation_covering_from_counts, counts)
    return {
        "ari": ari(),
        "fg_ari": ari(ignore_background=True),
        "mbo": mbo(),
        "mbo_bg": mbo(background=True),
        "miou": miou(),
        "miou_bg": miou(background=True),
        "miou_either": miou(background=True, denominator="either"),
        "msc": covering(),
        "msc_bg": covering(background=True),
        "sc": covering(weighted=True),
        "sc_bg": covering(weighted=True, background=True),
        "recall": metrics.object_recall_from_counts(counts),
        "used_slots": metrics.slot_count_from_counts(counts),
        "segments": metrics.segment_count_from_counts(counts),
    }


def table(true, pred, **options):
    return metrics.contingency(true, pred, num_true=NUMBER, num_pred=NUMBER, **options)


def pad(labels, size, fill=0):
    """One example at a common size, so that each function compiles once; see `ignore`."""
    return np.pad(
        labels, [(0, n - m) for n, m in zip(size, labels.shape, strict=True)], constant_values=fill
    )[None]


def test_the_file_is_of_the_format_read_here(cases):
    assert cases["format_version"] == 1
    names = {k.rsplit("/answer")[0] for k in cases.files if k.startswith("image/")}
    assert len({n.split("/")[1] for n in names}) == len(IMAGES)


@pytest.mark.parametrize("number", IMAGES)
def test_images(cases, number):
    inputs, answers = read(cases, f"image/case_{number:03d}")
    true, pred = (pad(inputs[k], (40, 40)) for k in ("true", "pred"))
    ignore = pad(inputs.get("ignore", np.zeros_like(inputs["true"])), (40, 40), fill=1) > 0
    static = {"num_true": NUMBER, "num_pred": NUMBER, "ignore": ignore}
    values = of_table(table(true, pred, ignore=ignore))
    values["corloc"] = metrics.corloc(true, pred, **static)
    values["corloc_mask"] = metrics.corloc(true, pred, by="mask", **static)
    if "class_map" in inputs:
        classes = table(pad(inputs["class_map"], (40, 40)), pred, ignore=ignore)
        values["mbo_class"] = metrics.mean_best_overlap_from_counts(classes)
        values["miou_class"] = metrics.mean_iou_from_counts(classes)
    assert values.keys() == answers.keys()
    for name, answer in answers.items():
        close(values[name], [answer], err_msg=name)


@pytest.mark.parametrize("number", range(2))
def test_videos(cases, number):
    inputs, answers = read(cases, f"video/case_{number:03d}")
    size = (6, 40, 40)
    clips = [
        inputs[k].repeat(inputs["upscale"], 1).repeat(inputs["upscale"], 2)
        for k in ("true", "pred")
    ]
    true, pred = (pad(clip, size) for clip in clips)
    ignore = pad(np.zeros_like(clips[0]), size, fill=1) > 0
    values = of_table(table(true, pred, ignore=ignore))
    later = of_table(table(true[:, 1:], pred[:, 1:], ignore=ignore[:, 1:]))
    values |= {f"{name}_from_second": later[name] for name in ("fg_ari", "mbo")}
    static = {"num_true": NUMBER, "num_pred": NUMBER, "ignore": ignore}
    for name, metric in (
        ("fg_ari", functools.partial(metrics.adjusted_rand_index, ignore_background=True)),
        ("mbo", metrics.mean_best_overlap),
        ("miou", metrics.mean_iou),
    ):
        values[f"{name}_frame_mean"] = metrics.per_frame(metric)(true, pred, **static)
    of_tracking = {"slot_switches", "switch_opportunities", "hinted_miou", "frames_counted"}
    assert answers.keys() - values.keys() == of_tracking
    for name in answers.keys() & values.keys():
        close(values[name], [answers[name]], err_msg=name)
    assert (clips[0] > 0).any((1, 2)).sum() == answers["frames_counted"]


def test_data_sets(cases):
    inputs, answers = read(cases, "dataset/case_000")
    true, pred = inputs["true"], inputs["pred"]
    counts = table(true, pred)
    rows = [of_table(one[None]) for one in counts]
    value = {k: np.array([row[k][0] for row in rows], np.float64) for k in rows[0]}
    counted = ~np.isnan(value["fg_ari"])
    objects = np.asarray(metrics.segment_count_from_counts(counts, background=False))
    difference = np.abs(value["used_slots"] - value["segments"])

    def per_object(name):
        return np.sum(value[name][counted] * objects[counted]) / objects.sum()

    expected = {
        "images": len(true),
        "counted": counted.sum(),
        "objects": objects.sum(),
        "fg_ari_skip": np.nanmean(value["fg_ari"]),
        "fg_ari_one": np.where(counted, value["fg_ari"], 1).mean(),
        "fg_ari_zero": np.where(counted, value["fg_ari"], 0).mean(),
        "fg_ari_standard_error": np.nanstd(value["fg_ari"], ddof=1) / np.sqrt(counted.sum()),
        "ari": value["ari"].mean(),
        "corloc": np.nanmean(metrics.corloc(true, pred)),
        "slot_count_accuracy": (difference == 0).mean(),
        "slot_count_mae": difference.mean(),
    }
    for name in ("mbo", "miou", "recall"):
        expected[f"{name}_per_image"] = np.nanmean(value[name])
        expected[f"{name}_per_object"] = per_object(name)
    assert expected.keys() == answers.keys()
    for name, answer in answers.items():
        close(expected[name], answer, err_msg=name)


@pytest.mark.parametrize("number", range(2))
def test_soft_masks(cases, number):
    inputs, answers = read(cases, f"soft/case_{number:03d}")
    true = inputs["true"][None]
    pred = metrics.labels_from_masks(inputs["masks"][None], true.shape[1:])
    np.testing.assert_array_equal(pred[0], inputs["labels"])
    values = of_table(table(true, pred))
    for name, answer in answers.items():
        close(values[name], [answer], err_msg=name)


@pytest.mark.parametrize("number", range(2))
def test_matching(cases, number):
    inputs, answers = read(cases, f"match/case_{number:03d}")
    counts = table(inputs["true"][None], inputs["pred"][None])
    rows = inputs["objects"] - 1
    slots = np.asarray(metrics.match_slots_from_counts(counts))[0]
    np.testing.assert_array_equal(slots[rows], answers["slot_of_object"])
    np.testing.assert_array_equal(np.delete(slots, rows), -1)
    iou = np.asarray(metrics.iou_from_counts(counts))[0, 1:]
    close(iou[rows, slots[rows]], answers["iou_of_object"])


def test_reconstruction(cases):
    inputs, answers = read(cases, "recon/case_000")
    true, pred = inputs["true"], inputs["pred"]
    error = metrics.reconstruction_error
    close(error(true, pred), answers["mse_mean"])
    total = error(true, pred, reduce="sum")
    np.testing.assert_allclose(total, answers["mse_sum"], rtol=1e-4, atol=1e-4)
    close(error(2 * true - 1, 2 * pred - 1), answers["mse_symmetric_range"])
    close(metrics.psnr(true, pred), answers["psnr"], atol=1e-3)


@pytest.mark.parametrize("number", range(2))
def test_regions_and_boundaries(cases, number):
    inputs, answers = read(cases, f"jf/case_{number:03d}")
    true, pred = inputs["true"][None] > 0, inputs["pred"][None] > 0
    assert metrics.boundary_tolerance(*true.shape[1:]) == answers["tolerance_pixels"]
    close(metrics.region_similarity(true, pred), [answers["j"]])
    close(metrics.boundary_f(true, pred), [answers["f"]])
