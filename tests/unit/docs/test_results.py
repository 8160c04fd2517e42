"""docs/results.md has one section per benchmark, and `--write` replaces it."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pytest

from benchmarks import results

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "\ndef main(" in path.read_text()]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_benchmark_can_write_its_section(program: Path) -> None:
    code = program.read_text()
    assert "add_option(parser)" in code
    assert re.search(r"sys\.exit\(recorded\(main, __file__(, markdown=True)?\)\)", code)
    page = results.PAGE.read_text()
    name = f"benchmarks/{program.name}"
    assert page.count(f"<!-- {name}: start -->") == page.count(f"<!-- {name}: end -->") == 1


def test_every_section_states_its_date_and_machine() -> None:
    sections = re.findall(r"<!-- benchmarks/\S+: start -->\n(.*?)\n", results.PAGE.read_text())
    assert len(sections) == len(PROGRAMS)
    assert all(re.search(r"20\d\d-\d\d-\d\d.*(VM|processors)|seeded", line) for line in sections), sections


def example_main() -> int:
    """Accept `--write` and print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    results.add_option(parser)
    parser.parse_args()
    print("42 runs/s")
    return 0


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "results.md"
    path.write_text(
        "# Results\nIntro.\n<!-- benchmarks/speed.py: start -->\nold\n<!-- benchmarks/speed.py: end -->\nCaveat.\n"
    )
    monkeypatch.setattr(results, "PAGE", path)
    return path


def test_write_replaces_only_the_section(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed.py", "--check", "--write"])
    assert results.recorded(example_main, "/anywhere/speed.py") == 0
    text = page.read_text()
    assert "42 runs/s" in text
    assert "`benchmarks/speed.py --check`" in text
    assert re.search(r"20\d\d-\d\d-\d\d, \d+ processors", text)
    assert "old" not in text
    assert text.startswith("# Results\nIntro.\n")
    assert text.endswith("\nCaveat.\n")
    assert capsys.readouterr().out == "42 runs/s\n"


def test_without_write_the_page_stays(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = page.read_text()
    monkeypatch.setattr(sys, "argv", ["speed.py"])
    assert results.recorded(example_main, "speed.py") == 0
    assert page.read_text() == before


def test_a_benchmark_without_a_section_is_an_error(page: Path) -> None:
    with pytest.raises(ValueError, match="exactly once"):
        results.write_section(page, "benchmarks/other.py", "text")
