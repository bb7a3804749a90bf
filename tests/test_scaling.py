"""The cost model of docs/scaling.md: what is counted in a program, and that the model has it."""

import sys
from pathlib import Path
from types import ModuleType

import jax
import pytest


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    monkeypatch.delitem(sys.modules, "scaling", raising=False)
    import scaling

    return scaling


class TestExchanged:
    def test_results_of_collectives_are_added_up(self, scaling: ModuleType) -> None:
        program = """
          %sum.1 = (f32[2,3]{1,0}, /*index=1*/s32[4]{0}) all-reduce(%a, %b), channel_id=1
          %whole = bf16[8]{0} all-gather-start(%c), dimensions={0}
          %flag = pred[] all-reduce(%d), to_apply=%or
          %other = f32[1000]{0} add(%e, %f), metadata={op_name="all-reduce"}
        """
        assert scaling.exchanged_bytes(program) == 24 + 16 + 16 + 1

    def test_a_program_of_one_device_exchanges_nothing(self, scaling: ModuleType) -> None:
        assert scaling.exchanged_bytes("%x = f32[3]{0} add(%a, %b)") == 0


@pytest.mark.slow
@pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices")
def test_the_model_has_what_is_counted(scaling: ModuleType) -> None:
    for row in scaling.rows("slot_attention/tetrominoes_cpu", (1, 8)):
        flops, modelled, exchanged, wanted, parameters = map(float, row[2:])
        assert flops == pytest.approx(modelled, rel=0.01)
        assert exchanged == wanted
        assert exchanged >= parameters or row[1] == "1"
