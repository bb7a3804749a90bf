"""Settings shared by all tests: eight virtual devices and no silent promotion."""

import os
from pathlib import Path

import jax
import pytest

from slots.training.mesh import spare_thread

if not os.environ.get("JAX_PLATFORMS", "cpu").startswith(("cuda", "gpu", "tpu")):
    jax.config.update("jax_num_cpu_devices", 8)
    spare_thread(8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = Path(os.environ.get("SLOTS_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real samples beside the project; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no sample files at {folder} (set SLOTS_SHARED to their parent)")
    return folder
