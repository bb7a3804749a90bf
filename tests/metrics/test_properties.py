"""What every metric of label maps must satisfy, on maps chosen by hypothesis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from slots import metrics

from .examples import random_maps

NUMBER = 8  # static number of labels, so that all tests share compiled functions
SHAPE = (8, 3, 4)
IOUS = ("mbo", "mbo_bg", "miou", "miou_bg", "miou_either", "sc", "recall", "recall_strict")
LOCALISED = ("corloc", "corloc_mask")
PARTITIONS = ("ari", "fg_ari")
check = settings(deadline=None, max_examples=20)


def labels(shape=SHAPE):
    return arrays(np.int32, shape, elements=st.integers(0, 4))


def from_counts(counts):
    """Every metric of a table, by name."""
    return {
        "ari": metrics.adjusted_rand_index_from_counts(counts),
        "fg_ari": metrics.adjusted_rand_index_from_counts(counts, ignore_background=True),
        "mbo": metrics.mean_best_overlap_from_counts(counts),
        "mbo_bg": metrics.mean_best_overlap_from_counts(counts, background=True),
        "miou": metrics.mean_iou_from_counts(counts),
        "miou_bg": metrics.mean_iou_from_counts(counts, background=True),
        "miou_either": metrics.mean_iou_from_counts(counts, background=True, denominator="either"),
        "sc": metrics.segmentation_covering_from_counts(counts, weighted=True),
        "recall": metrics.object_recall_from_counts(counts),
        "recall_strict": metrics.object_recall_from_counts(counts, threshold=0.3, strict=True),
        "used_slots": metrics.slot_count_from_counts(counts),
        "segments": metrics.segment_count_from_counts(counts),
    }


def report(true, pred, ignore=None):
    """Every metric of label maps, by name."""
    static = {"ignore": ignore, "num_true": NUMBER, "num_pred": NUMBER}
    values = from_counts(metrics.contingency(true, pred, **static))
    values["corloc"] = metrics.corloc(true, pred, **static)
    values["corloc_mask"] = metrics.corloc(true, pred, by="mask", **static)
    return values


def core(true, pred, ignore):
    """One metric of each kind of computation, for tests that compile all of it anew."""
    static = {"ignore": ignore, "num_true": NUMBER, "num_pred": NUMBER}
    counts = metrics.contingency(true, pred, **static)
    return {
        "counts": counts,
        "fg_ari": metrics.adjusted_rand_index_from_counts(counts, ignore_background=True),
        "sc": metrics.segmentation_covering_from_counts(counts, weighted=True),
        "recall": metrics.object_recall_from_counts(counts),
        "miou_either": metrics.mean_iou_from_counts(counts, background=True, denominator="either"),
        "slots": metrics.match_slots_from_counts(counts),
        "used_slots": metrics.slot_count_from_counts(counts),
        "corloc": metrics.corloc(true, pred, **static),
    }


jitted_core = jax.jit(core)


def inputs_of_core():
    true, pred = (jnp.asarray(x, jnp.int32) for x in random_maps(0, (8, 9, 10), 6, 7))
    ignore = jnp.asarray(np.random.default_rng(1).random(true.shape) < 0.1)
    return true.at[0].set(0), pred, ignore


def assert_same(got, expected, names=None, atol=1e-6):
    for name in names or expected:
        np.testing.assert_allclose(got[name], expected[name], atol=atol, err_msg=name)


@check
@given(labels(), labels(), st.permutations(range(NUMBER)), st.permutations(range(1, NUMBER)))
def test_names_of_labels_mean_nothing(true, pred, slots, objects):
    # The five labels move among eight, so that gaps and empty slots come and go as well.
    renamed = report(np.array([0, *objects])[true], np.array(slots)[pred])
    assert_same(renamed, report(true, pred), atol=2e-5)


def test_a_wider_table_changes_nothing():
    true, pred = random_maps(5, (8, 3, 4), 6, 7)
    expected = report(true, pred)
    wider = metrics.contingency(true, pred, num_true=11, num_pred=12)
    fg_ari = metrics.adjusted_rand_index_from_counts(wider, ignore_background=True)
    either = metrics.mean_iou_from_counts(wider, background=True, denominator="either")
    assert_same({"fg_ari": fg_ari, "miou_either": either}, expected, ("fg_ari", "miou_either"))


@check
@given(labels(), st.permutations(range(NUMBER)))
def test_equal_maps_score_exactly_one(true, slots):
    values = report(true, np.array(slots)[true])
    has_objects = (true > 0).any((1, 2))
    for name in (*IOUS, *LOCALISED, *PARTITIONS):
        defined = has_objects | (name in ("ari", "mbo_bg", "miou_bg", "miou_either"))
        expected = np.where(defined, 1.0, np.nan)
        np.testing.assert_array_equal(values[name], expected, err_msg=name)


@check
@given(labels((8, 1, 18)), labels((8, 1, 30)), st.permutations(range(30)))
def test_ignoring_an_object_is_deleting_it(rest, pred, order):
    true = np.concatenate([rest, np.full((8, 1, 12), 7, np.int32)], axis=2)
    shuffled = true[..., order], pred[..., order]
    static = {"num_true": NUMBER, "num_pred": NUMBER}
    ignored = metrics.contingency(*shuffled, ignore=shuffled[0] == 7, **static)
    deleted = metrics.contingency(rest, pred[..., :18], **static)
    np.testing.assert_array_equal(ignored, deleted)


@check
@given(labels(), labels())
def test_a_clip_of_one_frame_is_the_image(true, pred):
    assert_same(report(true[:, None], pred[:, None]), report(true, pred), atol=0)


@check
@given(labels(), labels())
def test_equal_frames_and_larger_pixels_keep_every_iou(true, pred):
    expected = report(true, pred)
    clip = report(*(x[:, None].repeat(3, 1) for x in (true, pred)))
    large = report(*(x.repeat(2, 1).repeat(2, 2) for x in (true, pred)))
    for values in (clip, large):
        assert_same(values, expected, names=(*IOUS, *LOCALISED, "used_slots", "segments"))


@check
@given(labels(), labels())
def test_inequalities(true, pred):
    value = {name: np.asarray(v) for name, v in report(true, pred).items()}
    defined = (true > 0).any((1, 2))
    assert (value["miou"] <= value["mbo"] + 1e-6)[defined].all()
    assert (value["miou_bg"] <= value["mbo_bg"] + 1e-6).all()
    assert (value["miou_either"] <= value["miou_bg"] + 1e-6).all()
    assert (value["ari"] <= 1).all()
    assert (value["fg_ari"] <= 1)[~np.isnan(value["fg_ari"])].all()


@check
@given(st.permutations(range(12)), labels())
def test_weights_do_not_matter_for_objects_of_equal_size(order, pred):
    true = np.array(order).reshape(1, 3, 4).repeat(8, 0) // 3 + 1
    value = report(true, pred)
    np.testing.assert_allclose(value["sc"], value["mbo"], atol=1e-6)


def test_jit_and_eager_agree():
    inputs = inputs_of_core()
    eager, jitted = core(*inputs), jitted_core(*inputs)
    np.testing.assert_array_equal(jitted["counts"], eager["counts"])
    assert_same(jitted, eager)


@pytest.mark.slow
def test_vmap_and_jit_agree():
    inputs = inputs_of_core()
    jitted = jitted_core(*inputs)
    nested = jax.jit(jax.vmap(core))(*(x.reshape(2, 4, 9, 10) for x in inputs))
    flat = {name: value.reshape(jitted[name].shape) for name, value in nested.items()}
    np.testing.assert_array_equal(flat["counts"], jitted["counts"])
    assert_same(flat, jitted)


def test_eight_devices_report_what_one_does():
    inputs = inputs_of_core()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(inputs, NamedSharding(mesh, PartitionSpec("data")))
    one, eight = jitted_core(*inputs), jitted_core(*spread)
    for name, value in one.items():
        np.testing.assert_array_equal(eight[name], value, err_msg=name)


def test_images_without_objects_leave_a_mean_as_it_was():
    true, pred = random_maps(3, (8, 9, 10), 6, 7)
    full = report(true, pred)
    true[6:] = 0
    some_empty = report(true, pred)
    for name in ("fg_ari", "mbo", "miou", "sc", "recall", *LOCALISED):
        assert np.isnan(some_empty[name][6:]).all()
        np.testing.assert_allclose(np.nanmean(some_empty[name]), np.mean(full[name][:6]), rtol=1e-6)
    filled = np.where(np.isnan(some_empty["fg_ari"]), 1, some_empty["fg_ari"]).mean()
    np.testing.assert_allclose(filled, (full["fg_ari"][:6].sum() + 2) / 8, rtol=1e-6)


def test_labels_out_of_range_are_undefined_everywhere():
    true, pred = random_maps(4, (8, 9, 10), 6, 7)
    expected = report(true, pred)
    true[1, 0, 0], pred[2, 0, 0] = NUMBER, NUMBER + 5
    for name, value in report(true, pred).items():
        undefined = -1 if name in ("used_slots", "segments") else np.nan
        np.testing.assert_array_equal(value[1:3], [undefined] * 2, err_msg=name)
        np.testing.assert_array_equal(value[3:], expected[name][3:], err_msg=name)
