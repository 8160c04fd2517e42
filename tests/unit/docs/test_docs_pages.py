"""Every page is in the navigation, every decision record that is named exists, and every term is defined once."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
TEXTS = [
    path
    for folder in ("frm_mlflow", "runners", "conf", "benchmarks", "tests", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".yaml", ".md", ".js"} and path != Path(__file__)
]


def test_every_page_is_in_the_navigation() -> None:
    nav = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages == {page for page in nav if not page.startswith("reference/")}
    assert len(nav) == len(set(nav))


def test_every_decision_record_that_is_named_exists() -> None:
    existing = {path.name[:4] for path in (DOCS / "adr").glob("*.md")}
    named = {
        (path.relative_to(ROOT).as_posix(), number)
        for path in TEXTS
        for number in re.findall(r"(?:docs/adr/|ADR )(\d{4})\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert not {(path, number) for path, number in named if number not in existing}


def test_decision_records_are_few_and_start_with_their_number() -> None:
    records = sorted((DOCS / "adr").glob("*.md"))
    assert 10 < len(records) <= 25
    assert all(record.read_text().startswith(f"# {record.name[:4]} ") for record in records)


def test_every_term_of_the_glossary_is_defined_once() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", (DOCS / "glossary.md").read_text(), re.M)
    terms = [term for cell, _ in rows if cell != "term" for term in cell.split(", ")]
    assert len(terms) == len(set(terms)) > 50
    assert all(meaning.rstrip().endswith((".", ")", "`")) for cell, meaning in rows if cell != "term")


def test_every_page_in_the_navigation_has_one_title() -> None:
    for path in DOCS.rglob("*.md"):
        prose = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        assert len(re.findall(r"^# ", prose, re.M)) == 1, path
