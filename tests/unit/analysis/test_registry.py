import json

import numpy as np
import pandas as pd
import pytest
from test_rows import device, frame, row

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import ANALYSES, chosen_analyses, run_all
from frm_mlflow.errors import ConfigError, DataError

OPTIONS = AnalysisOptions(resamples=200, shuffles=10)


def run(rows, *names, seed=0):
    return run_all(rows, names or ("all",), options=OPTIONS, rng=np.random.default_rng(seed))


def test_the_nine_in_the_papers_order_and_its_tables():
    assert list(ANALYSES) == [
        "frm", "disagreement", "transfer", "stability", "interaction", "pareto", "failures", "sensitivity", "cost",
        "paper",
    ]  # fmt: skip


def test_names_are_chosen_once_and_in_order():
    assert [a.name for a in chosen_analyses(["cost", "frm", "cost"])] == ["frm", "cost"]
    assert len(chosen_analyses(["all"])) == 10


def test_an_unknown_analysis_lists_the_valid_names():
    with pytest.raises(ConfigError, match="unknown analysis pareot; choose from all, frm, disagreement"):
        chosen_analyses(["pareot"])
    with pytest.raises(ConfigError, match="unknown analysis"):
        chosen_analyses([])


def test_numbers_do_not_depend_on_which_others_run(small_frame):
    alone = run(small_frame, "stability").results["stability"].tables["metrics"]
    together = run(small_frame, "transfer", "stability").results["stability"].tables["metrics"]
    pd.testing.assert_frame_equal(alone, together)


def test_one_device_gets_analyses_or_a_reason_for_refusal():
    report = run(frame(*device("phone")))
    assert set(report.results) == {"frm", "disagreement", "pareto", "cost"}
    assert "there is one" in report.refused["transfer"]
    assert "different chips" in report.refused["stability"]
    assert "two tiers, runtimes or precisions" in report.refused["interaction"]
    assert "two tiers, runtimes or precisions" in report.refused["failures"]
    assert "batch_size" in report.refused["sensitivity"]


def test_two_models_are_too_few_and_no_number_is_given():
    rows = [r for name in ("x", "y") for r in device(name)[:2]]
    report = run(frame(*rows))
    assert "5 models in common" in report.refused["stability"]
    assert report.results["transfer"].tables["devices"].empty


def test_without_accuracy_there_is_no_frontier():
    rows = [*device("x", top1=np.nan), *device("y", top1=np.nan)]
    assert "log accuracy/top1" in run(frame(*rows), "pareto").refused["pareto"]


def test_without_memory_there_is_no_frm_but_latency_is_analysed():
    report = run(frame(*device("x", memory_mib=np.nan), *device("y", memory_mib=np.nan)))
    assert "memory/peak_mib" in report.refused["disagreement"]
    assert "not available for FRM, 1.000 " in report.results["stability"].sentences[0]


def test_one_model_alone():
    report = run(frame(row("resnet50"), row("resnet50", device="y", tier="cpu")))
    assert {"stability"} <= set(report.refused)
    assert report.results["cost"].tables["summary"]["full_runs"].tolist() == [2, 2]


def test_nothing_at_all_is_an_error():
    with pytest.raises(DataError, match="no benchmark to analyse"):
        run(frame())


def test_digest_follows_the_numbers_and_not_the_order(small_frame):
    report = run(small_frame, "cost")
    assert run(small_frame.iloc[::-1], "cost").digest == report.digest
    changed = small_frame.assign(latency_ms=small_frame["latency_ms"] * 1.01)
    assert run(changed, "cost").digest != report.digest
    assert len(report.run_ids) == len(small_frame)


def test_progress_is_told(small_frame):
    seen = []
    run_all(
        small_frame, ["cost", "frm"], options=OPTIONS, rng=np.random.default_rng(0), progress=lambda *a: seen.append(a)
    )
    assert seen == [("frm", 0, 2), ("cost", 1, 2)]


def test_every_analysis_has_a_question_and_a_place_in_the_paper():
    assert all(analysis.question.endswith("?") and analysis.paper for analysis in ANALYSES.values())


def test_all_tables_can_be_written_as_json(small_frame):
    from frm_mlflow.report.analysis import result_json

    for name, result in run(small_frame).results.items():
        assert json.loads(result_json(name, result))["analysis"] == name
