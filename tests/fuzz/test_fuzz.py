"""A part of the bad inputs; and that an input which is not refused as it should be is noticed."""

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slots.config import ConfigError

from . import ALL, campaign
from .campaign import Broken, attempt
from .damage import Random, Trap, damaged
from .targets import Target

INPUTS = 600
"""Of all targets together; `python scripts/fuzz.py` gives them 12,000."""


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
@pytest.mark.filterwarnings("ignore")  # of numpy and PIL, about the damage
def test_bad_inputs_are_refused_in_a_sentence_or_harmless(target: Target) -> None:
    count = max(3, round(INPUTS * target.share))
    result = attempt(target, count)
    assert result.inputs == count


class TestCampaign:
    def refused(self, use: Callable[[], Any]) -> str:
        target = Target("one", lambda folder: None, lambda state, rng: use(), 1.0)
        with pytest.raises(Broken) as caught:
            attempt(target, 1)
        return str(caught.value)

    def test_other_errors_are_noticed(self) -> None:
        assert "one, input 0: ZeroDivisionError" in self.refused(lambda: 1 // 0)

    def test_an_error_of_two_lines_is_noticed(self) -> None:
        def use() -> None:
            raise ConfigError("one\ntwo")

        assert "not one sentence" in self.refused(use)

    def test_what_hangs_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(campaign, "SECONDS", 1)
        assert "took more than 1 s" in self.refused(lambda: time.sleep(5))

    def test_what_takes_memory_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(campaign, "GIBIBYTES", 0.2)
        monkeypatch.setattr(campaign, "_WARM", 0)
        held: list[np.ndarray] = []
        target = Target(
            "one", lambda folder: None, lambda state, rng: held.append(np.ones(2**25)), 1.0
        )
        with pytest.raises(Broken, match="memory grew"):
            attempt(target, 20)

    def test_the_trap_snaps(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(Trap(tmp_path / "trap")))
        assert (tmp_path / "trap").exists()

    def test_an_input_can_be_made_again(self) -> None:
        def spoilt(rng: Random) -> bytes:
            return damaged(rng, bytes(range(100)))

        one, other = (spoilt(np.random.default_rng((3, 5))) for _ in range(2))
        assert one == other
        several = {spoilt(np.random.default_rng((3, number))) for number in range(50)}
        assert len(several) > 40
