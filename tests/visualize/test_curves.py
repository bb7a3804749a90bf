"""Training curves: which panels, with which bands and scales."""

import io
from typing import Any

import numpy as np
import pytest

from slots import visualize


class TestCurves:
    def test_panels_bands_and_scales(self) -> None:
        records: list[dict[str, Any]] = [
            {"step": s, "learning_rate": 1e-3, "loss": 1.0 / (s + 1), "note": "text", "done": False}
            for s in range(150)
        ]
        records.append({"step": 150, "loss": float("nan"), "loss_extra": -1.0})
        records.append({"step": 10, "eval": {"fg_ari": {"mean": 0.5, "stderr": 0.1, "count": 3}}})
        records.append({"step": 20, "eval": {"fg_ari": {"mean": 0.7, "stderr": 0.1, "count": 3}}})
        records.append({"step": 20, "mse": 2.0, "mse_std": 0.5, "list": [1.0, 3.0]})
        group = {"mean": 2.0, "stderr": 9.0, "seeds_std": 1.0, "members": [1.0, 3.0]}
        records.append({"step": 20, "seeds": group})
        figure = visualize.training_curves(records)
        panels = {axes.get_title(): axes for axes in figure.axes}
        assert [*panels][:2] == ["loss", "loss extra"]
        assert [*panels][2:] == ["eval/fg ari", "mse", "seeds", "learning rate"]
        assert panels["loss"].get_yscale() == "log"
        assert panels["loss extra"].get_yscale() == "linear"
        assert len(panels["loss"].lines) == 2  # the curve and its moving average
        for name, low, high in (("eval/fg ari", 0.4, 0.8), ("seeds", 1, 3), ("mse", 1.5, 2.5)):
            box = panels[name].collections[0].get_datalim(panels[name].transData)
            np.testing.assert_allclose([box.y0, box.y1], [low, high])
        figure.savefig(io.BytesIO())

    def test_moving_average_passes_over_gaps(self) -> None:
        records = [{"step": s, "x": float("nan") if s % 3 else 2.0} for s in range(200)]
        line = visualize.training_curves(records).axes[0].lines[1]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), 2.0)

    def test_named_panels_only(self) -> None:
        records = [{"step": s, "loss": 1.0, "b": float(s)} for s in range(3)]
        figure = visualize.training_curves(records, names=["b"])
        assert [axes.get_title() for axes in figure.axes] == ["b"]

    def test_several_runs_are_told_apart_without_colour(self) -> None:
        runs = {
            "one": [{"step": s, "loss": 1.0 + s} for s in range(3)],
            "other": [{"step": s, "loss": 2.0 + s, "b": 1.0} for s in range(200)],
        }
        loss, b = visualize.training_curves(runs, ["loss", "b"]).axes
        styles = {line.get_label(): line.get_linestyle() for line in loss.lines}
        assert (styles["one"], styles["other"]) == ("-", "--")
        assert [text.get_text() for text in loss.get_legend().get_texts()] == ["one", "other"]
        assert [text.get_text() for text in b.get_legend().get_texts()] == ["other"]
        assert loss.get_yscale() == "log"

    @pytest.mark.parametrize(
        ("records", "names", "message"),
        [
            ([], None, "hold no numbers"),
            ([{"loss": 1.0}], None, "record 0 has no `step`; it has loss"),
            ([{"step": 0, "loss": 1.0}], ["los"], "no record has 'los'; they have loss"),
        ],
    )
    def test_mistakes(
        self, records: list[dict[str, float]], names: list[str] | None, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            visualize.training_curves(records, names)
