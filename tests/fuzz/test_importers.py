"""Mutated files through every importer: a sample here, thousands in `make test-all`."""

import pytest

from tests.fuzz.importers import Tally, fuzz


def assert_clean(tally: Tally, inputs: int) -> None:
    assert tally.problems == []
    assert tally.inputs == inputs
    assert tally.kinds["read"] > 0, "some mutations are harmless"
    assert tally.kinds["refused"] > 0


def test_mutated_files_are_read_or_refused() -> None:
    assert_clean(fuzz(range(20_000, 20_108)), 108)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_mutated_files_are_read_or_refused() -> None:
    assert_clean(fuzz(range(30_000, 34_000)), 4_000)
