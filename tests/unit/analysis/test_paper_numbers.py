"""The paper's figures, recomputed by hand, to verify the statements in docs/paper-notes.md."""

import pytest
from scipy.stats import spearmanr

from frm_mlflow.analysis.cost import runs_saved
from frm_mlflow.analysis.frm import frm
from frm_mlflow.analysis.synthetic import PAPER_MODELS, PAPER_TIERS
from frm_mlflow.errors import DataError

TABLE_9 = {  # parameters in millions, "FLOPs" in G, "Mem" in MiB
    "ConvNeXt-Tiny": (28.59, 4.46, 109.06),
    "DeiT-Tiny": (5.90, 2.60, 22.89),
    "DenseNet121": (7.98, 2.83, 30.44),
    "EfficientNet-B0": (5.29, 0.39, 20.17),
    "Inception-V3": (27.16, 5.71, 103.61),
    "LeViT-128S": (7.80, 0.31, 29.75),
    "MNASNet1.0": (4.38, 0.31, 16.72),
    "MobileNetV2": (3.51, 0.31, 13.37),
    "MobileNetV3-Small": (2.54, 0.06, 9.70),
    "MobileViT-XXS": (1.30, 0.70, 4.96),
    "ResNet18": (11.69, 1.81, 44.59),
    "ResNet50": (25.56, 4.09, 97.49),
    "SqueezeNet1.1": (1.24, 0.35, 4.71),
}


def test_cost_is_99_1_percent_and_not_99_5():
    saved = runs_saved(models=13, devices=106)
    assert (saved.full, saved.reference, saved.saved) == (1378, 13, 1365)
    assert round(100 * saved.share, 1) == 99.1


def test_a_plan_without_devices_is_refused():
    with pytest.raises(DataError, match="references must be 1 to 0"):
        runs_saved(models=13, devices=0)


def test_thirteen_models_on_119_configurations_are_not_1527():
    assert 13 * 119 == 1547


def test_devices_are_104_or_105_and_never_106():
    assert 7 + 4 + 93 == 104
    assert 8 + 4 + 93 == 105
    assert sum(PAPER_TIERS.values()) == 106


def test_groups_are_counted_once_for_each_of_three_baselines():
    assert 357 == 3 * 119
    assert all(count % 3 == 0 for count in (774, 342, 579, 168, 27, 330, 315))


def test_the_papers_ten_percent_is_one_minus_rho():
    assert round(1 - 0.901, 1) == 0.1
    assert pytest.approx(0.169, abs=0.0005) == 774 / (3 * 1527)


def test_two_models_are_83_percent_of_the_disagreements():
    assert pytest.approx(0.833, abs=0.0005) == (330 + 315) / 774


def test_levits_frm_of_0_452_does_not_follow_from_table_2():
    assert float(frm(0.075, 0.541, 0.367)) == pytest.approx(0.246, abs=0.0005)
    assert float(frm(0.075, 0.703, 0.370)) == pytest.approx(0.269, abs=0.0005)
    # Nor does it follow from Table 6's other GPU ratio of the same model.
    assert float(frm(0.075, 1.461, 0.367)) == pytest.approx(0.343, abs=0.0005)


def test_overalls_are_not_the_means_of_their_rows():
    assert pytest.approx(0.937, abs=0.0005) == (0.961 + 0.887 + 0.968 + 0.931) / 4  # "0.907"
    assert pytest.approx(0.569, abs=0.0005) == (0.582 + 0.503 + 0.620 + 0.571) / 4  # "0.582"
    assert pytest.approx(0.884, abs=0.0005) == (0.90 + 0.88 + 0.89 + 0.83 + 0.92) / 5  # "0.87"
    assert pytest.approx(0.931, abs=0.0005) == (0.984 + 0.900 + 0.910) / 3  # "0.947"


def test_u_is_larger_than_two_groups_of_774_cases_can_give():
    promoted = round(0.508 * 774)
    assert promoted * (774 - promoted) < 156_432
    assert (774 / 2) ** 2 == 149_769 < 156_432


def test_table_6_deltas_are_over_the_larger_side_or_the_gpus():
    assert pytest.approx(0.657, abs=0.0005) == (0.782 - 0.268) / 0.782
    assert pytest.approx(0.635, abs=0.0015) == (0.848 - 0.309) / 0.848
    assert pytest.approx(0.497, abs=0.0005) == (1.461 - 0.735) / 1.461
    assert pytest.approx(0.572, abs=0.0005) == (0.811 - 0.516) / 0.516


def test_three_point_two_times_greater_is_2_74():
    assert pytest.approx(2.74, abs=0.005) == 0.848 / 0.309


def test_section_4_5_counts_eleven_models_without_the_baseline():
    assert pytest.approx(0.818, abs=0.0005) == 9 / 11
    assert len(TABLE_9) - 1 == 12


def test_the_memory_column_is_four_bytes_a_parameter():
    for params_m, _, mem in TABLE_9.values():
        assert params_m * 4e6 / 2**20 == pytest.approx(mem, rel=0.02)


def test_hence_memory_and_parameters_rank_alike_in_table_9():
    params, _, memory = zip(*TABLE_9.values(), strict=True)
    assert spearmanr(params, memory).statistic == pytest.approx(1)


def test_the_lowest_flops_of_section_6_are_not_levits():
    candidates = {"LeViT": 0.305, "MobileNetV3": 0.219, "EfficientNet": 0.390}
    assert min(candidates, key=candidates.__getitem__) == "MobileNetV3"


def test_section_6_best_choice_in_budget_is_efficientnet():
    top1_and_ms = {"EfficientNet-B0": (77.1, 63), "MobileNetV3-Large": (75.2, 47), "LeViT-128S": (76.5, 124)}
    fitting = {name: top1 for name, (top1, ms) in top1_and_ms.items() if ms < 100}
    assert max(fitting, key=fitting.__getitem__) == "EfficientNet-B0"


def test_variance_ratio_is_one_of_cvs():
    assert pytest.approx(4.8, abs=0.05) == 1.404 / 0.290


def test_our_synthetic_frame_uses_the_papers_13_models():
    assert len(PAPER_MODELS) == len(TABLE_9) == 13
    flops = {round(gmacs, 2) for _, _, gmacs, _, _ in PAPER_MODELS}
    assert {4.46, 2.6, 2.83, 0.39, 5.71, 1.81, 4.09} <= flops
