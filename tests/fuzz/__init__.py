"""Bad inputs for everything that reads what others wrote; `python scripts/fuzz.py` runs most."""

from .readers import READERS
from .scores import METRICS
from .targets import TARGETS

ALL = (*TARGETS, *READERS, METRICS)
