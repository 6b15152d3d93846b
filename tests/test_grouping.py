"""The runner itself: what shares a group is kept on one of several workers."""

import pytest


@pytest.mark.xdist_group("together")
def test_a_group_is_heeded(request: pytest.FixtureRequest) -> None:
    """Where a group is ignored nothing fails: each worker starts a service of its own, a third more time."""
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@together")
