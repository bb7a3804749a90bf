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
# # Swap the slot module
#
# Data, encoder, decoder and loss stay; what groups tokens into slots changes. This notebook trains
# five slot modules on the same Tetrominoes scenes for as many steps, and shows their masks side by
# side, with the verdict on the health of their slots that every evaluation gives.
# `scripts/compare.py` does the same with several seeds and longer. `SLOTS_SHORT=1` shortens it to a
# quick check.

# %%
import logging
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import slots
from slots import presets, visualize
from slots.config import override

# %matplotlib inline
logging.getLogger("slots").setLevel(logging.ERROR)
SHORT = []
if os.environ.get("SLOTS_SHORT"):
    SHORT = ["train.steps=4", "train.batch_size=8", "eval.every=4", "eval.batch_size=16"]
    SHORT += ["eval.count=16", "model.module.num_iterations=2", "model.module.eval_iterations=2"]

# %% [markdown]
# ## One setting swaps it
# A part is chosen by its name; the presets below add what goes with it (first slots, rounds, step
# size). `slots train slot_attention/tetrominoes_cpu model.module=mesh` does this on the command line.

# %%
config = presets.load("slot_attention/tetrominoes_cpu")
print(config.model.module)
print(override(config, ["model.module=mesh"]).model.module)

# %% [markdown]
# ## Train each

# %%
SYSTEMS = ("slot_attention", "invariant_slot_attention", "slot_mixture", "mesh", "cosa")
NAMES = ("Slot Attention", "Invariant", "Mixture", "MESH", "CoSA")
if SHORT:
    SYSTEMS, NAMES = SYSTEMS[::3], NAMES[::3]
settings = ["model.num_slots=4", "train.steps=4000", "eval.every=4000", *SHORT]
folder = tempfile.mkdtemp()
runs = {}
for system, name in zip(SYSTEMS, NAMES, strict=True):
    config = override(presets.load(f"{system}/tetrominoes_cpu"), settings)
    runs[name] = slots.train(config, os.path.join(folder, system))

# %% [markdown]
# ## Score each

# %%
for name, run in runs.items():
    found = slots.evaluate(run)
    fg_ari = found.statistics["fg_ari"]
    print(
        f"{name:>14}  foreground ARI {fg_ari.mean:.3f} ± {fg_ari.stderr:.3f}  {found.verdicts[0]}"
    )

# %% [markdown]
# ## The same scenes, five ways
# A row for each module; colours are slots, and what the background component owns is grey. Which slot
# takes which piece is chance.

# %%
COUNT = 6
batch = next(runs["MESH"].experiment.dataset.held_out("val", COUNT, COUNT))
pictures = np.asarray(batch.pixels)
labels = []
for run in runs.values():
    masks = run.predict(batch.image).reconstruction.masks
    labels.append((np.asarray(masks.argmax(1)) + 1) % masks.shape[1])  # the background, last, is 0
figure = visualize.segmentation_overlay(
    np.concatenate([pictures] * len(runs)), np.concatenate(labels), columns=COUNT
)
for name, cell in zip(runs, figure.axes[::COUNT], strict=True):
    cell.set_ylabel(name)
figure

# %% [markdown]
# ## What each attends to
# Attention after the last round, of the first scene: one picture per slot.

# %%
figure, axes = plt.subplots(len(runs), 4, figsize=(6, 1.6 * len(runs)))
for row, (name, run) in zip(axes, runs.items(), strict=True):
    prediction = run.predict(batch.image[:1])
    attention = prediction.grouping.attention[0].reshape(-1, *prediction.tokens.grid)
    row[0].set_ylabel(name, fontsize=9)
    for cell, one in zip(row, attention, strict=True):
        cell.imshow(one, vmin=0, vmax=1, cmap="magma")
        cell.set(xticks=[], yticks=[])
plt.show()
