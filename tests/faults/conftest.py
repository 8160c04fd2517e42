from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.world import World, running_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server, a proxy and exports for all faults; the folder's name is short because it contains sockets."""
    with running_world(tmp_path_factory.mktemp("w")) as world:
        yield world
