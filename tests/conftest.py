"""Settings shared by all tests: eight virtual devices, no silent promotion, quick compiles."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from slots.training.mesh import spare_thread

if not os.environ.get("JAX_PLATFORMS", "cpu").startswith(("cuda", "gpu", "tpu")):
    jax.config.update("jax_num_cpu_devices", 8)
    spare_thread(8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Nearly all of these programs run for less than XLA's optimizations take. Where this is 0 they are
# made; they are for known answers in any case. Programs that tests start inherit it.
QUICK = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
jax.config.update("jax_disable_most_optimizations", QUICK)

MAPS = Path("/proc/self/maps")
SHARED = Path(os.environ.get("SLOTS_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True, scope="module")
def _forget_programs() -> Iterator[None]:
    """Drops compiled programs long before they fill the table of memory maps.

    Every program holds some; Linux grants a process 65,530 (vm.max_map_count), and XLA ends beyond
    them with a segmentation fault.
    """
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _optimizations(request: pytest.FixtureRequest) -> Iterator[None]:
    wanted = not QUICK or request.node.get_closest_marker("parity") is not None
    jax.config.update("jax_disable_most_optimizations", not wanted)
    yield
    jax.config.update("jax_disable_most_optimizations", QUICK)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real samples beside the project; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no sample files at {folder} (set SLOTS_SHARED to their parent)")
    return folder
