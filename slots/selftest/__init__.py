"""What a machine should show before days of training are trusted to it: `slots selftest`.

Each check compares two ways to the same numbers: gradients on one device and on all, data read
whole and in shards, parameters of every device and process, a run that was killed and one that was
not. None compares with stored values, so that any preset can be checked on any machine.
"""

from slots.selftest.outcome import Outcome
from slots.selftest.selftest import selftest

__all__ = ["Outcome", "selftest"]
