# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own pictures
#
# A folder of pictures trains, with or without masks beside them. Set `FOLDER` to yours:
#
# ```
# FOLDER/train/images/*.png   and, for scores, FOLDER/train/masks/*.png with the same names
# FOLDER/val/images/*.png                      FOLDER/val/masks/*.png
# ```
#
# or just `FOLDER/images/*.png`; a part is then held out. Masks are index pictures: 0 is background,
# 1 to n are objects, 255 is ignored. Without a folder of your own this notebook uses the sample of
# nuclei beside the project if it is there, and else draws a small folder of discs.

# %%
import logging
import os
import pathlib
import tempfile

import numpy as np
from PIL import Image

import slots
from slots import presets, visualize
from slots.config import override

# %matplotlib inline
logging.getLogger("slots").setLevel(logging.WARNING)
SHORT = []
if os.environ.get("SLOTS_SHORT"):
    SHORT = ["train.steps=4", "train.batch_size=8", "eval.every=4", "eval.batch_size=16"]
    SHORT += ["eval.count=16", "model.module.num_iterations=2", "model.module.eval_iterations=2"]
FOLDER = os.environ.get("SLOTS_PICTURES", "../../shared/data/nuclei")


def draw_discs(folder, count, seed):
    """Grey pictures with two to five bright discs, and their masks."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(count):
        picture, mask = random.normal(20, 6, (128, 128)), np.zeros((128, 128), np.uint8)
        for label in range(1, random.integers(3, 7)):
            cy, cx, radius = *random.uniform(12, 116, 2), random.uniform(7, 14)
            inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
            picture[inside], mask[inside] = random.uniform(90, 220), label
        name = f"{i:03}.png"
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
        Image.fromarray(mask).save(folder / "masks" / name)


if not pathlib.Path(FOLDER).is_dir():
    FOLDER = tempfile.mkdtemp()
    draw_discs(pathlib.Path(FOLDER) / "train", 200, seed=0)
    draw_discs(pathlib.Path(FOLDER) / "val", 40, seed=1)
print(FOLDER)

# %% [markdown]
# ## Look at the data first

# %%
config = override(presets.load("slot_attention/nuclei_cpu"), [f"data.path={FOLDER}"])
dataset = config.data.make()
batch = next(dataset.held_out("val", 6, 6))
print("pictures", batch.image.shape, "at most", dataset.max_objects, "objects")
visualize.segmentation_overlay(batch.pixels, batch.segmentation, ignore=batch.ignore)

# %% [markdown]
# ## Train
# Give the model a few more slots than a picture has objects. Half of the preset's steps run here.

# %%
half = config.train.steps // 2
settings = [f"train.steps={half}", f"eval.every={half}", "eval.count=null", *SHORT]
config = override(config, settings)
run = slots.train(config, os.path.join(tempfile.mkdtemp(), "run"))

# %%
result = slots.evaluate(run)
for name in ("fg_ari", "mbo", "mse_mean"):
    value = result.statistics[name]
    print(f"{name:>9} {value.mean:.3f} ± {value.stderr:.3f} (n = {value.count})")

# %%
prediction = run.predict(batch.image)
drawn = prediction.reconstruction
visualize.reconstruction_grid(
    batch.pixels, run.model.to_image(drawn.output), drawn.masks, segmentation=batch.segmentation
)

# %% [markdown]
# ## From here
# The same on the command line, with everything kept in a run folder:
#
# ```
# slots train slot_attention/nuclei_cpu data.path=FOLDER model.num_slots=12
# slots show runs/...
# ```
