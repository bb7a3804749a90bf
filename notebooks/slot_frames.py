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
# # Move, scale and turn a slot
#
# In Invariant Slot Attention a slot is a vector that says *what*, and a frame that says *where, how
# large and how turned*. The decoder draws the vector in the frame, so that changing the frame alone
# should move, stretch or turn the object. This notebook trains ISA-TSR on Tetrominoes for a few minutes
# (`invariant_slot_attention/tetrominoes_cpu` with fewer steps), takes one slot of a held-out scene,
# changes its frame, and measures whether what is drawn follows. `SLOTS_SHORT=1` shortens it to a quick
# check.

# %%
import dataclasses
import logging
import os
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import slots
from slots import presets, visualize
from slots.config import override
from slots.nn import estimate_frames, grid_positions, rotation_matrix

# %matplotlib inline
logging.getLogger("slots").setLevel(logging.WARNING)
SHORT = []
if os.environ.get("SLOTS_SHORT"):
    SHORT = ["train.steps=4", "train.batch_size=8", "eval.every=4", "eval.batch_size=16"]
    SHORT += ["eval.count=16", "model.module.num_iterations=2", "model.module.eval_iterations=2"]

# %% [markdown]
# ## Train

# %%
config = override(
    presets.load("invariant_slot_attention/tetrominoes_cpu"),
    ["model.module.variant=tsr", "train.steps=6000", "eval.every=6000", *SHORT],
)
run = slots.train(config, os.path.join(tempfile.mkdtemp(), "run"))
score = slots.evaluate(run).statistics["fg_ari"]
print(f"foreground ARI {score.mean:.3f} ± {score.stderr:.3f} (n = {score.count})")

# %% [markdown]
# ## Frames
# Each slot's position (dot), axes (arrows, the first is thick) and spread (ellipse), read off its
# attention.

# %%
batch = next(run.experiment.dataset.held_out("val", 8, 8))
prediction = run.predict(batch.image)
found = prediction.grouping.slots
masks = prediction.reconstruction.masks
background = -1 if masks.shape[1] > found.vectors.shape[1] else None
frames = found.frames
visualize.frame_overlay(
    batch.pixels, masks, frames.position, frames.scale, frames.rotation, background=background
)

# %% [markdown]
# ## Change one frame
# The slot of the first scene that owns most pixels of the pieces; everything else stays as it was.

# %%
scene = 0
owners = np.asarray(masks[scene].argmax(0))
pieces = np.asarray(batch.segmentation[scene]) > 0
count = found.vectors.shape[1]
slot = int(np.bincount(owners[pieces], minlength=count)[:count].argmax())


def draw(**changes):
    """Picture and the slot's mask with parts of its frame changed."""
    parts = {
        name: getattr(frames, name)[scene : scene + 1].at[0, slot].set(value)
        for name, value in changes.items()
    }
    one = jax.tree.map(lambda x: x[scene : scene + 1], found)
    changed = dataclasses.replace(one, frames=dataclasses.replace(one.frames, **parts))
    drawn = run.model.decoder(changed)
    return np.asarray(run.model.to_image(drawn.output))[0], np.asarray(drawn.masks)[0, slot]


def row(pictures, titles):
    """Pictures side by side."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(1.7 * len(pictures), 2))
    for cell, picture, title in zip(axes, pictures, titles, strict=True):
        cell.imshow(picture.clip(0, 1), interpolation="nearest")
        cell.set_title(title, fontsize=9)
        cell.set(xticks=[], yticks=[])
    plt.show()


position = frames.position[scene, slot]
scale = frames.scale[scene, slot]
rotation = frames.rotation[scene, slot]
angle = float(jnp.arctan2(rotation[1, 0], rotation[0, 0]))

# %% [markdown]
# ### Move it to the right

# %%
steps = [-0.4, -0.2, 0.0, 0.2, 0.4]
moved = [draw(position=position + jnp.array([0.0, step])) for step in steps]
row([picture for picture, _ in moved], [f"x {step:+.1f}" for step in steps])

# %% [markdown]
# ### Scale it

# %%
factors = [0.5, 0.75, 1.0, 1.5, 2.0]
scaled = [draw(scale=scale * factor) for factor in factors]
row([picture for picture, _ in scaled], [f"× {factor:g}" for factor in factors])

# %% [markdown]
# ### Turn it

# %%
turns = [-90, -45, 0, 45, 90]
turned = [draw(rotation=rotation_matrix(jnp.float32(angle + np.deg2rad(turn)))) for turn in turns]
row([picture for picture, _ in turned], [f"{turn:+d}°" for turn in turns])

# %% [markdown]
# ## Does the object follow?
# What the slot's mask does, against what its frame was told. A mask has a centre and a
# spread of its own, computed as the module computes the frame's.

# %%
grid = grid_positions(*owners.shape)[None]


def measured(mask):
    """Centre and spread (y, x) of a mask."""
    weights = np.where(mask > 0.5, mask, 0).reshape(1, 1, -1)
    weights = weights / max(weights.sum(), 1e-8)
    frame = estimate_frames(
        grid,
        jnp.asarray(weights, jnp.float32),
        ("position", "scale"),
        epsilon=1e-8,
        scales=(0.001, 2.0),
    )
    return np.asarray(frame.position[0, 0]), np.asarray(frame.scale[0, 0])


center, spread = measured(moved[2][1])
for step, (_, mask) in zip(steps, moved, strict=True):
    print(f"told to move by {step:+.1f}: moved by {measured(mask)[0][1] - center[1]:+.2f}")
for factor, (_, mask) in zip(factors, scaled, strict=True):
    print(f"told to scale by {factor:4.2f}: scaled by {(measured(mask)[1] / spread).mean():.2f}")
