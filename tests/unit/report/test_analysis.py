import json

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from plotly.offline import get_plotlyjs

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import ANALYSES, run_all
from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame
from frm_mlflow.report import figures
from frm_mlflow.report.analysis import render, result_json, summary_markdown
from frm_mlflow.report.analysis_figures import figures_of
from frm_mlflow.report.figures import page_of, write_png

OPTIONS = AnalysisOptions(resamples=100, shuffles=10)


def made_up(seed=0):
    recipe = SyntheticRecipe(
        devices={"gpu": 2, "edge": 4}, runtimes=("torch", "onnxruntime"), precisions=("fp32", "int8")
    )
    return synthetic_frame(recipe, np.random.default_rng(seed))


def report_of(frame, *names):
    return run_all(frame, names or ("all",), options=OPTIONS, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def report():
    frame = made_up()
    failed = frame.head(3).assign(status="FAILED")
    return report_of(pd.concat([frame, failed]))


@pytest.fixture(scope="module")
def folder(report, tmp_path_factory):
    directory = tmp_path_factory.mktemp("report")
    rendered = render(report, directory, png=False)
    assert all(path.is_file() for path in rendered.paths)
    return directory


def test_nine_folders_with_tables_json_and_figures(folder, report):
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(ANALYSES)
    for name, result in report.results.items():
        written = {path.name for path in (folder / name).iterdir()}
        assert {f"{table}.csv" for table in result.tables} | {"result.json"} == written


def test_all_figures_are_on_one_page_with_one_plotly(folder, report):
    assert {path.name for path in folder.rglob("*.html")} == {"figures.html", "paper.html"}
    text = (folder / "figures.html").read_text(encoding="utf-8")
    drawn = sum(len(figures_of(name, result.tables)) for name, result in report.results.items())
    assert text.count('class="plotly-graph-div"') == drawn > len(ANALYSES)
    drawing = set(report.results) - {"paper"}  # its tables are on a separate page
    assert all(escape(f"{name}: {ANALYSES[name].question}") in text for name in drawing)
    assert len(text) < len(get_plotlyjs()) + 2_000_000


def test_csv_and_json_hold_the_table(folder, report):
    table = report.results["transfer"].tables["sides"]
    assert pd.read_csv(folder / "transfer" / "sides.csv")["rho"].to_numpy() == pytest.approx(table["rho"].to_numpy())
    content = json.loads((folder / "transfer" / "result.json").read_text(encoding="utf-8"))
    assert content["paper"].startswith("Table 4")
    assert [row["rho"] for row in content["tables"]["sides"]] == pytest.approx(table["rho"].tolist())


def test_unknown_values_are_null_in_json(report):
    table = pd.DataFrame({"number": [1.0, np.nan, np.inf], "word": ["a", None, "c"], "count": [1, 2, 3]})
    result = type(report.results["cost"])(tables={"t": table}, sentences=())
    rows = json.loads(result_json("cost", result))["tables"]["t"]
    assert [row["number"] for row in rows] == [1.0, None, None]
    assert rows[1]["word"] is None
    assert rows[2]["count"] == 3


def test_every_page_is_self_contained(folder):
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script src=" not in text
        assert "<link" not in text
        assert text.count("plotly.js v") == (page.name == "figures.html")


def test_the_summary_covers_all_analyses_and_left_out_rows(folder, report):
    text = (folder / "summary.md").read_text(encoding="utf-8")
    assert all(f"### {name}\n" in text for name in ANALYSES)
    assert "shuffled control" in text
    assert "| 3 | not a finished benchmark | FAILED: 3 |" in text
    assert report.digest in text


def test_runs_and_options_are_kept_for_repeating(folder, report):
    runs = json.loads((folder / "runs.json").read_text(encoding="utf-8"))
    assert (runs["digest"], len(runs["runs"])) == (report.digest, len(made_up()))
    assert runs["options"]["resamples"] == 100


def test_refusals_are_in_the_summary():
    frame = made_up()
    one = frame[frame["device"] == "gpu-000"].groupby(["runtime", "precision"]).get_group(("onnxruntime", "fp32"))
    text = summary_markdown(report_of(one))
    assert "### Not answered" in text
    assert "- interaction: interaction needs two tiers" in text


def test_hostile_names_are_text_everywhere(tmp_path):
    frame = made_up()
    bad = "<img src=x onerror=alert(1)>|`"
    frame = frame.assign(
        model=frame["model"].replace({"levit_128s": bad}), device=frame["device"].replace({"gpu-000": bad})
    )
    report = report_of(frame)
    render(report, tmp_path, png=False)
    assert "<img" not in (tmp_path / "summary.md").read_text(encoding="utf-8")
    for page in tmp_path.rglob("*.html"):
        assert "<img src=x" not in page.read_text(encoding="utf-8")


def test_no_figures_of_nothing(report):
    empty = {name: table.iloc[:0] for name, table in report.results["transfer"].tables.items()}
    assert figures_of("transfer", empty) == {}


def test_every_analysis_draws_at_least_one_figure(report):
    drawing = {name: result for name, result in report.results.items() if name != "paper"}  # it has only tables
    assert all(figures_of(name, result.tables) for name, result in drawing.items())


def test_without_a_browser_png_is_one_note_and_no_error(report, tmp_path, monkeypatch):
    def no_chrome(**_):
        raise RuntimeError("Kaleido requires Google Chrome to be installed.\nmore")

    monkeypatch.setattr(figures.plotly.io, "write_images", no_chrome)
    rendered = render(report, tmp_path)
    assert rendered.notes == (
        "No PNG was drawn, figures are HTML only: Kaleido requires Google Chrome to be installed.",
    )
    assert not list(tmp_path.rglob("*.png"))
    assert list(tmp_path.rglob("figures.html"))


def test_no_figures_no_browser():
    assert write_png({}) == ((), ())


def test_a_page_escapes_its_title(report):
    page = page_of("<b>", {"<i>": figures_of("cost", report.results["cost"].tables), "nothing": {}})
    assert "<h1>&lt;b&gt;</h1>" in page
    assert "<h2>&lt;i&gt;</h2>" in page
    assert "nothing" not in page[len(get_plotlyjs()) :]


def test_many_directions_are_drawn_as_their_mean(report):
    table = report.results["transfer"].tables["concordance"]
    each = figures_of("transfer", {**report.results["transfer"].tables, "concordance": table})["concordance"]
    assert {trace.name for trace in each.data} >= {"gpu → edge, by FRM", "edge → gpu, by latency"}
    names = [f"runtime{number}" for number in range(4)]
    many = pd.concat([table.assign(source=name, target=f"{name}'") for name in names])
    many = pd.concat([many.assign(target=many["target"] + side) for side in ("a", "b")])
    drawn = figures_of("transfer", {**report.results["transfer"].tables, "concordance": many})["concordance"]
    assert [trace.name for trace in drawn.data] == [
        f"mean of 8 directions, by {word}" for word in ("FRM", "latency", "FLOPs")
    ]
    frm = table[table["predictor"] == "frm"]
    assert list(drawn.data[0].y) == pytest.approx(frm.groupby("band", sort=False)["right"].mean().tolist(), nan_ok=True)
