"""What the tests of data share."""

from collections.abc import Iterator

import pytest
from tiny import quick_compiles


@pytest.fixture(autouse=True, scope="module")
def _quick_compiles() -> Iterator[None]:
    with quick_compiles():
        yield
