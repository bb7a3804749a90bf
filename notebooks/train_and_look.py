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
# # Train and look, in five minutes
#
# Slot Attention learns, without labels, to split generated pictures into objects. This notebook
# trains it on Tetrominoes (three pieces on black), scores it and shows what each slot sees, as
# `make demo` does. `SLOTS_SHORT=1` shortens it to a quick check.

# %%
import logging
import os
import tempfile

import slots
from slots import presets, visualize
from slots.config import override
from slots.report import gallery

# %matplotlib inline
logging.getLogger("slots").setLevel(logging.WARNING)
SHORT = []
if os.environ.get("SLOTS_SHORT"):
    SHORT = ["train.steps=4", "train.batch_size=8", "eval.every=4", "eval.batch_size=16"]
    SHORT += ["eval.count=16", "model.module.num_iterations=2", "model.module.eval_iterations=2"]

# %% [markdown]
# ## An experiment is a tree of settings
# A preset is a function that returns one; `a.b=value` changes it, in Python as on the command line.

# %%
config = override(presets.load("slot_attention/tetrominoes_cpu"), SHORT)
print(config.model.encoder)
print(config.model.module)

# %% [markdown]
# ## Train
# The run folder keeps settings, metrics and checkpoints; `slots.restore(folder)` reads it back.

# %%
folder = os.path.join(tempfile.mkdtemp(), "run")
run = slots.train(config, folder)

# %% [markdown]
# ## Score
# Foreground ARI compares predicted segments with true ones on the pixels of objects: 1 is perfect,
# 0 is chance. Each number is a mean over held-out scenes with its standard error.

# %%
result = slots.evaluate(run)
print("protocol", result.protocol.id)
for name in ("fg_ari", "ari", "mbo", "mse_mean"):
    value = result.statistics[name]
    print(f"{name:>9} {value.mean:.3f} ± {value.stderr:.3f} (n = {value.count})")

# %% [markdown]
# ## Look
# The model predicts for arrays of one's own; here, held-out scenes.

# %%
batch = next(run.experiment.dataset.held_out("val", 4, 4))
prediction = run.predict(batch.image)
drawn = prediction.reconstruction
pictures = run.model.to_image(drawn.output)
visualize.reconstruction_grid(
    batch.pixels, pictures, drawn.masks, segmentation=batch.segmentation, background=-1
)

# %% [markdown]
# What each slot and the background draw, where their masks let them show:

# %%
visualize.slot_parts(batch.pixels, run.model.to_image(drawn.parts), drawn.masks, background=-1)

# %% [markdown]
# How the slots come to share the picture, round after round of attention:

# %%
attention = prediction.grouping.diagnostics["attention_per_iteration"]
visualize.attention_iterations(batch.pixels[0], attention[0], grid=prediction.tokens.grid)

# %% [markdown]
# ## Take scenes apart
# Move over a picture to see whose pixels they are; choose a slot to see its attention in every
# iteration, switch it off, or pick it and swap it with one of another scene. The picture is mixed anew
# from what the slots drew. `slots show RUN --html` writes the same into a page, with scores and curves.

# %%
gallery(run, count=2)
