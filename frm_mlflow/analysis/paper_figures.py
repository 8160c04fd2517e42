"""The contents of the paper's tables: rows, names and figures, entered in one place."""

from __future__ import annotations

from dataclasses import dataclass

from frm_mlflow.worker.runtimes import runtimes_of

NAN = float("nan")

MODELS: dict[str, str] = {
    "convnext_tiny": "ConvNeXt-Tiny",
    "deit_tiny": "DeiT-Tiny",
    "densenet121": "DenseNet121",
    "efficientnet_b0": "EfficientNet-B0",
    "inception_v3": "Inception-V3",
    "levit_128s": "LeViT-128S",
    "mnasnet1_0": "MNASNet1.0",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3-Small",
    "mobilevit_xxs": "MobileViT-XXS",
    "resnet18": "ResNet18",
    "resnet50": "ResNet50",
    "squeezenet1_1": "SqueezeNet1.1",
}
"""The paper's 13 models: our name, and the name in the paper's Table 9."""

DEVICES: dict[str, tuple[str, ...]] = {
    "RTX 4090": ("rtx_4090",),
    "A100": ("a100",),
    "H100": ("h100",),
    "CPU v5": ("azure_d16s_v5", "azure_e16s_v5"),
}
"""The single sources of Table 7: the paper's name, and ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Table 2 or 3: one model that FLOPs rank too high or too low."""

    model: str
    name: str
    gflops: float
    flops_rank: int
    ratios: dict[str, float]
    memory: tuple[float, float]
    frm_rank: int
    cases: int
    share: float
    """Percent of all disagreements (4.2.1, 4.2.2)."""


STUDIES: dict[str, Study] = {
    "table_2": Study(
        model="levit_128s", name="LeViT-128S", gflops=0.305, flops_rank=2,
        ratios={"flops": 0.075, "gpu": 0.541, "edge": 0.703}, memory=(0.367, 0.370), frm_rank=7, cases=330, share=42.6,
    ),
    "table_3": Study(
        model="squeezenet1_1", name="SqueezeNet1.1", gflops=0.352, flops_rank=5,
        ratios={"flops": 0.086, "gpu": 0.425, "edge": 0.223}, memory=(0.097, 1.072), frm_rank=2, cases=315, share=40.7,
    ),
}  # fmt: skip

TRANSFERS: dict[tuple[str, str], tuple[float, float, float, float, float]] = {
    ("gpu", "edge"): (0.961, 0.026, 0.582, 0.089, 65),
    ("cpu", "edge"): (0.887, 0.052, 0.503, 0.112, 76),
    ("edge", "gpu"): (0.968, 0.018, 0.620, 0.075, 56),
    ("edge", "cpu"): (0.931, 0.034, 0.571, 0.094, 63),
}
"""Table 4: FRM rho and sd, latency rho and sd, improvement in percent."""
TRANSFER_OVERALL = (0.907, NAN, 0.582, NAN, 56)

FRAMEWORKS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    f"{one} ↔ {other}": (runtimes_of(one), runtimes_of(other), rho)
    for one, other, rho in (("ONNX", "PyTorch", 0.984), ("ONNX", "TFLite", 0.900), ("PyTorch", "TFLite", 0.910))
}
"""Section 4.3: two groups of runtimes and the mean rho between them."""
FRAMEWORKS_OVERALL = 0.947

STABILITY: dict[str, tuple[float, float, float]] = {
    "frm": (0.956, 0.047, 0.290),
    "latency": (0.746, 0.190, 1.404),
    "memory": (0.721, 0.203, 1.575),
    "accuracy": (0.995, 0.011, 0.011),
}
"""Table 5: rank stability, its sd over pairs, CV."""

INTERACTION: dict[str, tuple[str, float, float, float]] = {
    "mnasnet1_0": ("MNASNet", 0.782, 0.268, 65.7),
    "mobilenet_v3_small": ("MobileNetV3", 0.848, 0.309, 63.5),
    "levit_128s": ("LeViT", 1.461, 0.735, 49.7),
    "resnet18": ("ResNet18", 0.516, 0.811, -57.2),
}
"""Table 6: name, latency ratio on GPU and on edge, percent more efficient on edge (negative: less)."""

FRONTIERS: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("RTX 4090", "edge", (0.92, 0.89, 0.90)),
    ("A100", "edge", (0.90, 0.87, 0.88)),
    ("H100", "edge", (0.91, 0.88, 0.89)),
    ("CPU v5", "edge", (0.85, 0.82, 0.83)),
    ("Edge (mean)", "gpu", (0.93, 0.91, 0.92)),
)
"""Table 7: source, target, precision, recall, F1."""
FRONTIERS_OVERALL = (0.89, 0.86, 0.87)

FAILURES: dict[str, tuple[str, float, str]] = {
    "cnn": ("Standard CNN (ResNet, DenseNet)", 5.2, "Well-characterized behavior"),
    "mobile_cnn": ("Mobile CNN (MobileNet, MNASNet)", 7.8, "Hardware-specific optimizations"),
    "efficient": ("Efficient CNN (EfficientNet, SqueezeNet)", 6.4, "Predictable efficiency patterns"),
    "transformer": ("Vision Transformer (LeViT, DeiT)", 23.4, "Attention overhead varies"),
    "hybrid": ("Hybrid (ConvNeXt, MobileViT)", 15.6, "Mixed CNN/attention behavior"),
}
"""Table 8: family, failure rate in percent, cause."""

ARCHITECTURES: dict[str, tuple[float, float, float, str]] = {
    "convnext_tiny": (28.59, 4.46, 109.06, "Hybrid"),
    "deit_tiny": (5.90, 2.60, 22.89, "Transformer"),
    "densenet121": (7.98, 2.83, 30.44, "CNN"),
    "efficientnet_b0": (5.29, 0.39, 20.17, "Efficient"),
    "inception_v3": (27.16, 5.71, 103.61, "CNN"),
    "levit_128s": (7.80, 0.31, 29.75, "Transformer"),
    "mnasnet1_0": (4.38, 0.31, 16.72, "Mobile CNN"),
    "mobilenet_v2": (3.51, 0.31, 13.37, "Mobile CNN"),
    "mobilenet_v3_small": (2.54, 0.06, 9.70, "Mobile CNN"),
    "mobilevit_xxs": (1.30, 0.70, 4.96, "Hybrid"),
    "resnet18": (11.69, 1.81, 44.59, "CNN"),
    "resnet50": (25.56, 4.09, 97.49, "CNN"),
    "squeezenet1_1": (1.24, 0.35, 4.71, "Efficient"),
}
"""Table 9: parameters in millions, FLOPs in billions, weights in MiB, family."""
FAMILY_NAMES: dict[str, str] = {
    "cnn": "CNN",
    "mobile_cnn": "Mobile CNN",
    "efficient": "Efficient",
    "transformer": "Transformer",
    "hybrid": "Hybrid",
}

CANDIDATES: dict[str, tuple[str, float, float, float, float]] = {
    "efficientnet_b0": ("EfficientNet-B0", 77.1, 0.390, 0.243, 63),
    "mobilenet_v3_large": ("MobileNetV3-Large", 75.2, 0.219, 0.187, 47),
    "levit_128s": ("LeViT-128S", 76.5, 0.305, 0.452, 124),
}
"""Section 6: name, accuracy in percent, GFLOPs, FRM on the RTX 4090, latency in ms on the Galaxy S21."""
CASE_TARGET, CASE_REFERENCE = "Samsung Galaxy S21", "rtx_4090"
