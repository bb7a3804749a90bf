"""The report, driven in a real browser: what is clicked, and the pixels that come of it."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright
from tiny import trained

import slots
from slots.figures import seen
from slots.report import gallery, write_report
from slots.runs import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ROUNDING = 1.01
"""Of 255: what two pictures may differ by where numbers lie between two colours."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*FLAGS]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("report") / "run"
    return slots.restore(shutil.copytree(trained()[0], folder))


class Own:
    """What the model itself makes of the first three scenes."""

    def __init__(self, run: Run):
        self.batch, self.prediction, _ = seen(run, 3)
        self._decode = jax.jit(lambda slots: run.model.to_image(run.model.decoder(slots).output))

    @property
    def vectors(self) -> np.ndarray:
        """Of the slots, [3, K, S], to be changed."""
        return np.array(self.prediction.grouping.slots.vectors)

    def input(self, number: int) -> np.ndarray:
        """From 0 to 255."""
        return np.asarray(self.batch.pixels[number], float) * 255

    def drawn(self, **changes: np.ndarray) -> np.ndarray:
        """By the decoder, of the slots with some parts replaced; from 0 to 255."""
        given = {name: jnp.asarray(value) for name, value in changes.items()}
        slots = dataclasses.replace(self.prediction.grouping.slots, **given)
        return np.clip(np.asarray(self._decode(slots), float), 0, 1) * 255


@pytest.fixture(scope="module")
def own(run: Run) -> Own:
    return Own(run)


@pytest.fixture(scope="module")
def report(run: Run) -> Path:
    return write_report(run, count=3)


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    with opened(browser, report) as page:
        yield page


class opened:
    """A page that asks nothing of a network and makes no mistakes."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280):
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.asked: list[str] = []
        self.path = path

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.wrong.append(message.text)

    def __enter__(self) -> Page:
        self.page.goto(self.path.resolve().as_uri())
        self.page.wait_for_selector("#gallery[data-ready]")
        return self.page

    def __exit__(self, *error: object) -> None:
        self.page.close()
        assert self.wrong == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))] == []


def scene(page: Page, number: int) -> Locator:
    return page.locator(f".scene[aria-label='Scene {number + 1}']")


def pixels(canvas: Locator) -> np.ndarray:
    """What a canvas shows, [h, w, 3] from 0 to 255."""
    found = canvas.evaluate(
        """canvas => [canvas.height, canvas.width, ...canvas.getContext("2d")
           .getImageData(0, 0, canvas.width, canvas.height).data]"""
    )
    return np.array(found[2:], float).reshape(*found[:2], 4)[..., :3]


def picture(page: Page, number: int) -> np.ndarray:
    return pixels(scene(page, number).locator("canvas[data-view=picture]"))


def same(shown: np.ndarray, wanted: np.ndarray) -> None:
    assert shown.shape == wanted.shape
    assert np.abs(shown - wanted).max() <= ROUNDING


def slot(page: Page, number: int, which: int) -> Locator:
    return scene(page, number).locator(".card").nth(which)


class TestScenes:
    def test_shows_the_input_and_what_the_model_draws(self, page: Page, own: Own) -> None:
        for number in range(3):
            same(picture(page, number), own.drawn()[number])
            shown = pixels(scene(page, number).locator("canvas[data-view=input]"))
            same(shown, own.input(number))

    def test_a_slot_that_is_off_is_not_drawn(self, page: Page, own: Own) -> None:
        count = own.vectors.shape[1]
        slot(page, 1, 2).locator("input[type=checkbox]").click()
        active = np.ones((3, count), bool)
        active[1, 2] = False
        wanted = own.drawn(active=active)
        same(picture(page, 1), wanted[1])
        assert np.abs(wanted[1] - own.drawn()[1]).max() > 5  # or nothing could be seen
        same(picture(page, 0), own.drawn()[0])
        assert "slot 2 is off" in scene(page, 1).locator(".said").inner_text()
        slot(page, 1, 2).locator("input[type=checkbox]").click()
        same(picture(page, 1), own.drawn()[1])

    def test_the_error_is_that_of_what_is_shown(self, page: Page, own: Own) -> None:
        slot(page, 0, 0).locator("input[type=checkbox]").click()
        told = scene(page, 0).locator(".said").inner_text()
        shown = picture(page, 0) / 255
        wanted = np.mean((shown - own.input(0) / 255) ** 2)
        found = re.search(r"([\d.e-]+)\.$", told)
        assert found is not None
        assert float(found[1]) == pytest.approx(wanted, rel=0.02)

    def test_slots_of_two_scenes_change_places(self, page: Page, own: Own) -> None:
        slot(page, 0, 1).locator("canvas").click()
        scene(page, 0).get_by_role("button", name="Pick slot 1").click()
        slot(page, 2, 0).locator("canvas").click()
        scene(page, 2).get_by_role("button", name="Swap slot 0 with slot 1 of scene 1").click()
        swapped = own.vectors
        swapped[0, 1], swapped[2, 0] = swapped[2, 0].copy(), swapped[0, 1].copy()
        wanted = own.drawn(vectors=swapped)
        same(picture(page, 0), wanted[0])
        same(picture(page, 2), wanted[2])
        scene(page, 0).get_by_role("button", name="Reset scene").click()
        same(picture(page, 0), own.drawn()[0])
        same(picture(page, 2), wanted[2])

    def test_a_slot_moves_to_another_scene(self, page: Page, own: Own) -> None:
        slot(page, 0, 1).locator("canvas").click()
        scene(page, 0).get_by_role("button", name="Pick slot 1").click()
        scene(page, 1).get_by_role("button", name="Move slot 1 of scene 1 here").click()
        given = own.vectors
        more = np.concatenate([given, given[:, :1]], axis=1)
        more[1, -1] = given[0, 1]
        active = np.ones(more.shape[:2], bool)
        active[0, 1] = active[0, -1] = False
        wanted = own.drawn(vectors=more, active=active)
        same(picture(page, 0), wanted[0])
        same(picture(page, 1), wanted[1])

    def test_attention_of_the_slot_under_the_pointer(self, page: Page, own: Own) -> None:
        prediction = own.prediction
        attention = np.asarray(prediction.grouping.diagnostics["attention_per_iteration"])
        for which in (0, 2):
            slot(page, 1, which).hover()
            shown = scene(page, 1).locator(".attention canvas")
            assert shown.count() == attention.shape[1]
            for number, rows in enumerate(attention[1, :, which]):
                grey = np.repeat(rows.reshape(*prediction.tokens.grid, 1), 3, axis=-1) * 255
                same(pixels(shown.nth(number)), grey)

    def test_a_pixel_tells_its_owner(self, page: Page, own: Own) -> None:
        masks = np.asarray(own.prediction.reconstruction.masks[0])
        canvas = scene(page, 0).locator("canvas[data-view=picture]")
        box = canvas.bounding_box()
        assert box is not None
        height, width = masks.shape[1:]
        row, column = 20, 9
        owner = int(masks[:, row, column].argmax())
        place = ((column + 0.5) / width * box["width"], (row + 0.5) / height * box["height"])
        canvas.click(position={"x": place[0], "y": place[1]})
        assert slot(page, 0, owner).locator("input[type=radio]").is_checked()
        dimmed = pixels(scene(page, 0).locator("canvas[data-view=input]"))
        image = own.input(0)
        weight = masks[owner][..., None]
        same(dimmed, weight * image + (1 - weight) * (90 + 0.15 * image))


class TestKeyboard:
    def test_everything_without_a_pointer(self, page: Page, own: Own) -> None:
        radios = scene(page, 0).locator("input[type=radio]")
        radios.first.focus()
        page.keyboard.press("ArrowRight")
        assert radios.nth(1).is_checked()
        page.keyboard.press("Space")
        count = own.vectors.shape[1]
        off = np.ones((3, count), bool)
        off[0, 1] = False
        same(picture(page, 0), own.drawn(active=off)[0])
        page.keyboard.press("r")
        same(picture(page, 0), own.drawn()[0])
        page.keyboard.press("P")
        scene(page, 1).locator("input[type=radio]").first.focus()
        page.keyboard.press("s")
        swapped = own.vectors
        swapped[0, 1], swapped[1, 0] = swapped[1, 0].copy(), swapped[0, 1].copy()
        same(picture(page, 1), own.drawn(vectors=swapped)[1])
        assert scene(page, 1).locator("input[type=radio]").first.is_checked()

    def test_tab_gets_to_the_scenes(self, page: Page) -> None:
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate("document.activeElement.tagName + document.activeElement.type")
            )
        assert {"INPUTradio", "BUTTONbutton"} <= reached


class TestPage:
    def test_says_what_was_measured_how(self, page: Page, run: Run) -> None:
        told = page.locator("main").inner_text()
        records = [json.loads(x) for x in (run.folder / "metrics.jsonl").read_text().splitlines()]
        last = [record for record in records if record["kind"] == "val"][-1]
        assert f"{last['fg_ari']['mean']:.4f}" in told
        assert "protocol house/image, n = 16, seeds 0, step 6" in told
        assert page.locator(".curves img").count() > 5
        assert all(alt for alt in page.locator("img").evaluate_all("all => all.map(x => x.alt)"))
        page.locator("summary", has_text="All settings").click()
        assert "optimizer.learning_rate" in page.locator("main").inner_text()

    @pytest.mark.parametrize("width", [320, 390, 768])
    def test_fits_a_phone(self, browser: Browser, report: Path, width: int) -> None:
        with opened(browser, report, width) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            heights = page.locator("button").evaluate_all("all => all.map(x => x.offsetHeight)")
            assert min(heights) >= 40

    def test_two_runs_side_by_side(
        self, browser: Browser, run: Run, own: Own, tmp_path: Path
    ) -> None:
        other = tmp_path / "other"
        shutil.copytree(run.folder, other)
        config = json.loads((other / "config.json").read_text())
        config["optimizer"]["learning_rate"] = 0.02
        (other / "config.json").write_text(json.dumps(config))
        path = write_report(run, slots.restore(other), count=2)
        assert path == run.folder / "report-other.html"
        with opened(browser, path) as page:
            assert page.locator(".scene").count() == 4
            told = page.locator("main").inner_text()
            assert "What is set differently" in told
            rows = page.locator("tr", has_text="optimizer.learning_rate").first.inner_text().split()
            assert rows == ["optimizer.learning_rate", "0.01", "0.02"]
            row = page.locator(".row").first.locator(".scene")
            row.nth(0).locator("input[type=checkbox]").first.click()
            shown = [pixels(row.nth(i).locator("canvas[data-view=picture]")) for i in range(2)]
            assert np.abs(shown[0] - shown[1]).max() > 5
            same(shown[1], own.drawn()[0])

    def test_text_of_a_stranger_is_text(self, browser: Browser, run: Run, tmp_path: Path) -> None:
        evil = "<img src=x onerror=alert(1)></script><script>window.hit = 1</script>"
        folder = tmp_path / "run"
        shutil.copytree(run.folder, folder)
        config = json.loads((folder / "config.json").read_text())
        config["name"] = evil
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "versions.json").write_text(json.dumps({"jax": evil}))
        with (folder / "metrics.jsonl").open("a") as file:
            told = {evil: {"mean": 1.0, "count": evil}, "fg_ari": {"mean": evil}, "protocol": evil}
            file.write(json.dumps({"step": 6, "kind": "val", **told}) + "\n")
        with opened(browser, write_report(slots.restore(folder), count=1)) as page:
            assert page.evaluate("window.hit") is None
            assert evil in page.locator("main").inner_text()
            assert page.locator("img[src=x]").count() == 0


class TestNotebook:
    def test_the_widget_is_a_document_of_its_own(
        self, browser: Browser, run: Run, own: Own, tmp_path: Path
    ) -> None:
        path = tmp_path / "notebook.html"
        path.write_text(f"<!doctype html><body>{gallery(run, 2)._repr_html_()}</body>")
        page = browser.new_page()
        page.goto(path.as_uri())
        inside = page.frame_locator("iframe")
        inside.locator("#gallery[data-ready]").wait_for()
        assert inside.locator(".scene").count() == 2
        shown = pixels(inside.locator("canvas[data-view=picture]").first)
        same(shown, own.drawn()[0])
        page.close()
