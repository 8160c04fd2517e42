"""Expected values are computed by hand from the paper's Tables 2, 3 and 9, never from our own output."""

import numpy as np
import pytest

from frm_mlflow.analysis.frm import FRM_E_COMPONENTS, frm, frm_of, positive, ratio
from frm_mlflow.errors import DataError


def test_levit_on_a_gpu_is_a_quarter_and_not_the_papers_0_452():
    # Table 2: cube root of 0.075 · 0.541 · 0.367 = cube root of 0.014891025; 0.246³ = 0.014886936.
    assert frm(0.075, 0.541, 0.367) == pytest.approx(0.2460, abs=5e-5)


def test_levit_on_edge():
    # Table 2: 0.075 · 0.703 · 0.370 = 0.01950825; 0.2692³ = 0.019508...
    assert frm(0.075, 0.703, 0.370) == pytest.approx(0.2692, abs=5e-5)


def test_squeezenet_on_edge():
    # Table 3: 0.086 · 0.223 · 0.097 = 0.001860266; 0.123³ = 0.001860867.
    assert frm(0.086, 0.223, 0.097) == pytest.approx(0.1230, abs=5e-5)


def test_flops_ratios_of_table_2_and_3_follow_from_table_9():
    # 0.305 / 4.09 = 0.07457..., 0.352 / 4.09 = 0.08606...; equation 2 with ResNet50 of Table 9.
    assert ratio([0.305, 0.352], 4.09) == pytest.approx([0.07457, 0.08606], abs=5e-6)


def test_static_frm_of_table_9_with_equal_latency():
    # ResNet18 against ResNet50: flops 1.81/4.09, mem 44.59/97.49, latency ratio of Table 6 (GPU) 0.516.
    expected = (1.81 / 4.09 * 44.59 / 97.49 * 0.516) ** (1 / 3)
    ratios = {"flops": ratio(1.81, 4.09), "latency": ratio(0.516, 1.0), "memory": ratio(44.59, 97.49)}
    assert frm_of(ratios) == pytest.approx(expected, abs=1e-9)


def test_half_of_each_cost_is_twice_as_efficient_as_in_paper_3_2():
    assert frm(0.5, 0.5, 0.5) == pytest.approx(0.5, abs=1e-12)


def test_baseline_is_exactly_one():
    assert frm(ratio(4.09, 4.09), ratio(19.7, 19.7), ratio(97.49, 97.49)) == 1.0


def test_energy_is_a_fourth_root():
    ratios = {"flops": 0.5, "latency": 0.25, "memory": 1.0, "energy": 2.0}
    assert frm_of(ratios, components=FRM_E_COMPONENTS) == pytest.approx(0.25**0.25, abs=1e-12)


def test_one_component_is_that_ratio():
    assert frm([0.3, 2.0]) == pytest.approx([0.3, 2.0])


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_missing_component_is_nan_and_never_a_mean_of_the_rest(missing):
    assert np.isnan(frm(0.5, missing, 0.5))
    assert np.isnan(ratio(missing, 1.0))
    assert np.isnan(ratio(1.0, missing))


def test_matrix_against_a_column_of_baselines():
    latency = np.array([[2.0, 4.0], [30.0, 15.0]])
    assert ratio(latency, latency[:, :1]).tolist() == [[1.0, 2.0], [1.0, 0.5]]


def test_very_large_and_small_ratios_do_not_overflow():
    assert frm(1e200, 1e200, 1e-300) == pytest.approx(1e100 ** (1 / 3), rel=1e-9)


def test_another_baseline_is_a_quotient():
    values = np.array([0.2, 0.5, 1.0])
    assert ratio(values, values[1]).tolist() == pytest.approx([0.4, 1.0, 2.0])


def test_inputs_are_not_changed():
    values = np.array([1.0, -1.0])
    positive(values)
    frm(values, values)
    assert values.tolist() == [1.0, -1.0]


def test_errors_list_the_available_components():
    with pytest.raises(DataError, match="at least one"):
        frm()
    with pytest.raises(DataError, match="no ratio for energy; there are flops"):
        frm_of({"flops": 1.0}, components=("flops", "energy"))
