import sys

import pytest

from refresher.serve.server import leave


def test_a_signal_before_anything_runs_leaves_with_status_0() -> None:
    with pytest.raises(SystemExit) as left:
        leave(15, sys._getframe())  # noqa: SLF001
    assert left.value.code == 0
