"""Cards of papers' rows: what they hold, verdicts, going on, and rows that cannot be run."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from tiny import OVERRIDES

from slots import presets
from slots.config import ConfigError
from slots.data import TetrominoesConfig
from slots.evaluation import PROTOCOLS
from slots.evaluation.evaluation import METRICS
from slots.evaluation.sets import AP_NAMES
from slots.published import ROWS
from slots.reproduce import card_lines, find, fingerprint, reproduce, verdict

NAN = math.nan
SMALL = [text for text in OVERRIDES if not text.startswith("eval.protocol")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("reproductions") / "row"
    row = find("slot_attention/tetrominoes")
    settings = [*SMALL, "train.seeds=2"]
    return folder, reproduce(row, folder, settings=settings, command=["slots", "reproduce"])


class TestCard:
    def test_says_what_was_run(self, made):
        folder, card = made
        assert json.loads((folder / "card.json").read_text()) == card
        assert (folder / "curves.png").stat().st_size > 5000
        assert (card["row"], card["size"]) == ("slot_attention/tetrominoes", "compact")
        assert card["preset"] == "slot_attention/tetrominoes_cpu"
        assert card["protocol"] == "fg-ari/slot-attention"
        assert card["items"] == {"scored": 16, "asked": 320}
        assert (card["seeds"], card["steps"]) == ([0, 1], 6)
        assert card["command"] == "slots reproduce"
        assert card["steps_per_second"] > 0
        assert card["peak_memory_mib"] > 100
        assert card["parameters"] > 1000
        assert len(card["data_sha256"]) == 64

    def test_stands_beside_the_papers_number(self, made):
        _, card = made
        value = card["values"]["fg_ari"]
        assert (value["paper"], value["paper_std"]) == (0.995, 0.002)
        assert value["ours"] == card["all"]["fg_ari"][0]
        assert value["verdict"].startswith("below by")  # after six steps
        text = "\n".join(card_lines(card))
        assert "16 examples (the protocol asks for 320), seeds 0, 1" in text
        assert "paper 0.9950 ± 0.0020: below by" in text
        assert card["note"] in text

    def test_a_finished_run_is_not_trained_again(self, made):
        folder, card = made
        before = (folder / "run" / "metrics.jsonl").read_bytes()
        settings = [*SMALL, "train.seeds=2"]
        again = reproduce(find("slot_attention/tetrominoes"), folder, settings=settings)
        assert (folder / "run" / "metrics.jsonl").read_bytes() == before
        same = set(card) - {"command", "peak_memory_mib"}
        assert {name: again[name] for name in same} == {name: card[name] for name in same}


class TestVerdict:
    @pytest.mark.parametrize(
        ("numbers", "want"),
        [
            ((0.98, 0.01, 0.995, 0.002), "below by 0.015, within the spread"),
            ((0.97, 0.01, 0.995, 0.002), "below by 0.025"),
            ((0.98, 0.001, 0.995, 0.002), "below by 0.015"),
            ((0.99, 0.001, 0.9, None), "above by 0.090"),
            ((0.899, NAN, 0.9, None), "below by 0.001, within the spread"),
            ((NAN, NAN, 0.9, 0.1), "undefined"),
        ],
    )
    def test_by_hand(self, numbers, want):
        assert verdict(*numbers) == want


class TestRows:
    def test_name_what_there_is(self):
        for name, row in ROWS.items():
            assert name == row.name
            assert row.protocol in PROTOCOLS
            assert {row.preset, row.compact} <= {*presets.presets(), None}
            assert set(row.values) <= {*METRICS, *AP_NAMES}
            assert all(0 < mean <= 1 for mean, _ in row.values.values())
            assert row.difference or row.compact is None

    def test_mistyped(self):
        with pytest.raises(ConfigError, match="did you mean 'slot_attention/clevr6'"):
            find("slot_attention/clevr7")

    def test_without_a_compact_form(self, tmp_path):
        row = dataclasses.replace(find("slot_attention/clevr6"), compact=None)
        with pytest.raises(ConfigError, match=r"has no compact form; say --full"):
            reproduce(row, tmp_path)


def test_the_fingerprint_is_of_the_data():
    data = TetrominoesConfig(held_out_size=16).make()
    one = fingerprint(data, "val", 16)
    assert one == fingerprint(TetrominoesConfig(held_out_size=16).make(), "val", 16)
    assert one != fingerprint(data, "val", 8)
    assert one != fingerprint(TetrominoesConfig(held_out_size=16, seed=1).make(), "val", 16)
