"""Import Qualcomm AI Hub's published results from the `qai_hub_models` wheel or a checkout of its source.

The wheel is read as a file and never installed. Its results have had two layouts (`aihub_layouts`);
both give the same units, names and definitions of latency and memory.

AI Hub runs random data many times in a loop and publishes the shortest time. Memory is the range
of the peak over the runs, and covers only the process: on the NPU it can be below 1 MiB.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ImportFileError
from frm_mlflow.importers import aihub_layouts, files, limits, logs
from frm_mlflow.importers.aihub_layouts import COMPUTE_UNITS, Job
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.plain_yaml import load_yaml

CLASSIFICATION = "Image Classification"
PASSED = "passed"
PRECISIONS = {"w8a8": "int8"}
"""Precisions that the newer layout names differently from the older one."""
_PERF = re.compile(r"(?:.*/)?models/[^/]+/perf(?:_(?P<precision>\w+))?\.yaml")
"""Some releases have additional files for other precisions, such as `perf_w8a16.yaml`."""


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield the rows of the wheel or checkout at `path`; a model whose files cannot be read is left out."""
    with files.Tree(path) as tree:
        models = sorted(name for name in tree.names if _PERF.fullmatch(name))
        if not models:
            limits.fail(path.name, "holds no models/NAME/perf.yaml; give a qai_hub_models wheel or source checkout")
        root = models[0].rpartition("models/")[0]
        with limits.expected_layout(f"{root}devices_and_chipsets.yaml"):
            package = _Package(tree, root)
        for perf in models:
            try:
                with limits.expected_layout(perf):
                    yield from _model_rows(package, perf, options)
            except ImportFileError as error:
                yield LeftOut(perf.removeprefix(root), error.row or "*", error.problem, error)


class _Package:
    """Data shared by the rows of all models: the version, and the device whose results each device repeats."""

    def __init__(self, tree: files.Tree, root: str) -> None:
        self.tree = tree
        self.root = root
        self.version = self._version()
        self._shared_side: int | None = None
        devices = self._devices_document()
        self.borrowed_from = _borrowed_from(devices)
        self.chips: dict[str, str] = {name: str(facts["chipset"]) for name, facts in devices.get("devices", {}).items()}

    def document(self, name: str) -> Any:
        """Return a YAML file of the package, or an empty mapping if it does not exist."""
        return load_yaml(self.tree.text(name), name) if name in self.tree.names else {}

    def input_side(self, folder: str) -> int | None:
        """Return the input's side length set in this release's source code of the model, None if it sets none.

        The manifest gives the published network's size, which a release may not have used. Code is searched, not run.
        """
        source = self._source(f"{folder}model.py")
        if "def get_input_spec(" in source:
            return self._side_in(source)
        if "ImagenetClassifier" not in source:
            return None
        return _constant("INPUT_DIM", source) or self._shared_input_side()

    def _shared_input_side(self) -> int | None:
        if self._shared_side is None:
            shared = sorted(name for name in self.tree.names if name.endswith("/imagenet_classifier/model.py"))
            self._shared_side = (self._side_in(self._source(shared[0])) if shared else None) or 0
        return self._shared_side or None

    def _side_in(self, source: str) -> int | None:
        """Return the side length in the first `(batch, 3, SIDE, SIDE)` of `get_input_spec`: a number or a constant."""
        name = _side_name(source)
        if not name or name.isdigit():
            return int(name) if name else None
        imports = re.finditer(r"from qai_hub_models\.([\w.]{1,200}) import (\([^)]{0,2000}\)|[^\n(]{0,500})", source)
        module = next((found[1] for found in imports if re.search(rf"\b{re.escape(name)}\b", found[2])), "")
        other = f"{self.root}{module.replace('.', '/')}.py" if module else ""
        return _constant(name, source) or (_constant(name, self._source(other)) if other else None)

    def _source(self, name: str) -> str:
        return self.tree.text(name) if name in self.tree.names else ""

    def _version(self) -> str:
        name = f"{self.root}_version.py"
        text = self.tree.text(name) if name in self.tree.names else ""
        found = re.search(r"__version__\s*=\s*[\"']([^\"']+)[\"']", text)
        from_wheel = re.match(r"qai_hub_models-([^-]+)-", self.tree.root.name)
        return found.group(1) if found else from_wheel.group(1) if from_wheel else "unknown"

    def _devices_document(self) -> dict[str, Any]:
        document = self.document(f"{self.root}devices_and_chipsets.yaml")
        return document if isinstance(document, dict) else {}


def _side_name(source: str) -> str:
    """Return the expression that `get_input_spec` uses for both sides of an image, "" if there is no image.

    >>> _side_name("def get_input_spec(self): return {'x': (1, 3, self.DIM, self.DIM)}")
    'DIM'
    """
    spec = source.partition("def get_input_spec(")[2][:3000]
    shape = re.search(r"\([\w.\s]{1,60},\s{0,40}3,\s{0,40}([\w.]{1,60}),\s{0,40}([\w.]{1,60}),?\s{0,40}\)", spec)
    return shape[1].removeprefix("self.") if shape and shape[1] == shape[2] else ""


def _constant(name: str, source: str) -> int | None:
    """Return the value of an assignment like `DIM = 299`, `DIM: ClassVar[int] = 299` or `DIM = OTHER`, or None.

    OTHER must be assigned a number in the same source.
    """
    value = re.search(rf"(?m)^ {{0,8}}{re.escape(name)}\b[^=\n]{{0,60}}= (\w{{1,60}})\b", source)
    if value is None or value[1] == name:
        return None
    if value[1].isdigit():
        return int(value[1][:5])
    number = re.search(rf"(?m)^ {{0,8}}{re.escape(value[1])}\b[^=\n]{{0,60}}= (\d{{1,5}})\b", source)
    return int(number[1]) if number else None


def _borrowed_from(document: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each device that repeats another's results, that other device (`reference_chipset`)."""
    chipsets, devices = document.get("chipsets", {}), document.get("devices", {})
    references = {name: facts.get("reference_chipset") for name, facts in devices.items()}
    return {
        name: str(chipsets[chipset]["reference_device"])
        for name, chipset in references.items()
        if chipset in chipsets and chipsets[chipset].get("reference_device", name) != name
    }


def _model_rows(package: _Package, perf: str, options: SourceConfig) -> Iterator[Row | LeftOut]:
    folder = perf.rpartition("/")[0] + "/"
    manifest = package.document(f"{folder}manifest.yaml") or package.document(f"{folder}info.yaml")
    if not isinstance(manifest, dict):
        limits.fail(f"{folder}manifest.yaml", "is not a mapping")
    shown = perf.removeprefix(package.root)
    if options.filter == "classifiers" and manifest.get("use_case") != CLASSIFICATION:
        yield LeftOut(shown, "*", "not an image classifier (filter=all takes it)")
        return
    side = package.input_side(folder)
    numerics = package.document(f"{folder}numerics.yaml")
    model = _Model(folder.rstrip("/").rpartition("/")[2], manifest, numerics, shown, input_side=side)
    named = re.fullmatch(r"\w+_(w\d+a\d+)", perf.rpartition("/")[2].removesuffix(".yaml"))
    model.quantised_as = model.quantised_as or (named[1] if named else "")
    seen: Counter[str] = Counter()
    for job in aihub_layouts.jobs(package.document(perf), shown, date=package.tree.date(perf)):
        if isinstance(job, LeftOut):
            yield job
            continue
        seen[job.row] += 1
        repeat = f"#{seen[job.row]}" if seen[job.row] > 1 else ""
        named_job = replace(job, row=job.row + repeat)
        yield logs.guarded(job.file, named_job.row, lambda j=named_job: _row(j, model, package))  # type: ignore[misc]


class _Model:
    """Facts about a model from the manifest and the numerics, the same for all devices.

    In the older layout a quantised model has a separate folder (`resnet50_quantized`), and
    `convnext_tiny_w8a16_quantized` states int8: the folder's name is correct.
    """

    def __init__(
        self, folder: str, manifest: Mapping[str, Any], numerics: Any, file: str, *, input_side: int | None
    ) -> None:
        suffix = re.search(r"(?:_(w\d+a\d+))?_?quantized$", folder)
        self.name = folder[: suffix.start()] if suffix else folder
        self.quantised_as = (suffix.group(1) or "") if suffix else ""
        self.file = file
        self.use_case = str(manifest.get("use_case", ""))
        details = manifest.get("technical_details") or {}
        self.params_m = _params_m(details.get("Number of parameters"))
        self.input_size = input_side or _side(details.get("Input resolution"))
        self.checkpoint = str(details.get("Model checkpoint", ""))
        self.top1, self.accuracy_source = _published_top1(manifest.get("numerics_benchmark"))
        self.measured_top1 = _measured_top1(numerics)


def _params_m(text: object) -> float | None:
    """Return a count like `25.5M` or `1.2B` in millions."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([MB])", str(text).strip()[:40])
    return float(found.group(1)) * (1000 if found.group(2) == "B" else 1) if found else None


def _side(text: object) -> int | None:
    """Return the side length in `224x224` or `1x3x224x224`; None if the two sides differ."""
    sides = [int(side) for side in re.findall(r"\d{1,9}", str(text)[:200]) if int(side) > 3]
    return sides[-1] if sides and len(set(sides)) == 1 else None


def _published_top1(benchmark: Any) -> tuple[float | None, str]:
    if not isinstance(benchmark, dict) or benchmark.get("metric_name") != "Top-1 Accuracy":
        return None, ""
    return float(benchmark["value"]), f"published: {benchmark.get('source', 'AI Hub')}"


def _measured_top1(numerics: Any) -> dict[tuple[str, str], float]:
    """Return top-1 by (precision, runtime), measured on a device with the source's sample of the validation set."""
    found: dict[tuple[str, str], float] = {}
    for metric in (numerics or {}).get("metrics", ()) if isinstance(numerics, dict) else ():
        if metric.get("metric_name") != "Top-1 Accuracy":
            continue
        for precisions in (metric.get("device_metric") or {}).values():
            for precision, runtimes in precisions.items():
                found |= {(precision, runtime): float(value["partial_metric"]) for runtime, value in runtimes.items()}
    return found


def _row(job: Job, model: _Model, package: _Package) -> Row | LeftOut:
    if job.generates_text:
        return LeftOut(job.file, job.row, "tokens a second of a language model, not a latency")
    if job.status.lower() != PASSED:
        return LeftOut(job.file, job.row, f"job {job.status.lower() or 'without a status'}")
    if not job.latency_ms:
        return LeftOut(job.file, job.row, "passed without a latency")
    name = model.name if not job.is_component else f"{model.name}/{job.component}"
    measured_on = package.borrowed_from.get(job.device, "")
    unit = _compute_unit(job)
    precision = _precision(model.quantised_as or job.precision, unit)
    repeat = job.row.partition("#")[2]
    return Row(
        file=job.file,
        row=job.row,
        model=name,
        device=job.device,
        runtime=job.runtime,
        precision=precision,
        compute_unit=unit,
        assumed_tier="edge",
        chip=job.chip or package.chips.get(job.device, ""),
        runtime_version=_versions(job.tool_versions) or f"qai_hub_models {package.version}",
        input_size=model.input_size,
        metrics=_metrics(job, model),
        latency_statistic="min",
        memory_definition="range_max",
        version=package.version,
        series=f"{name}/{job.device}/{job.runtime}/{precision}/{repeat}",
        date=job.date,
        tags=_tags(job, model, measured_on),
        provenance=_provenance(job, model),
    )


def _metrics(job: Job, model: _Model) -> dict[str, float]:
    """Return the measured metrics; a peak that the source rounds to 0 MiB is below its resolution, not zero."""
    figures = {
        schema.LATENCY_P50.key: job.latency_ms,
        schema.MEMORY_PEAK.key: job.memory_max_mib or None,
        schema.MEMORY_LOW.key: job.memory_min_mib,
        schema.PARAMS_M.key: None if job.is_component else model.params_m,
        schema.TOP1.key: None if job.is_component else model.top1,
        schema.TOP1_DEVICE.key: model.measured_top1.get((job.precision, job.runtime)),
    }
    return {key: value for key, value in figures.items() if value is not None}


def _tags(job: Job, model: _Model, measured_on: str) -> dict[str, str]:
    tags = {schema.JOB_ID.key: job.job_id, schema.MEASURED_ON.key: measured_on}
    tags[schema.LAYERS.key] = " ".join(f"{unit}={n}" for unit, n in job.layers.items() if n)
    if schema.TOP1.key in _metrics(job, model):
        tags[schema.ACCURACY_SOURCE.key] = model.accuracy_source
    return {key: value for key, value in tags.items() if value}


def _provenance(job: Job, model: _Model) -> dict[str, object]:
    said: dict[str, object] = {"component": job.component, "runtime": job.runtime, "precision": job.precision}
    said |= {"primary_compute_unit": job.primary_unit, "checkpoint": model.checkpoint, "use_case": model.use_case}
    return said | {"tool_versions": dict(job.tool_versions)}


def _compute_unit(job: Job) -> str:
    """Return the unit that ran more than half of the layers, else `mixed`.

    The source takes the unit with the largest share as the primary one, and the NPU in a tie.
    """
    total = sum(job.layers.values())
    shares = {unit: job.layers.get(unit, 0) for unit in COMPUTE_UNITS}
    largest = max(shares, key=lambda unit: shares[unit])
    if not total:
        return job.primary_unit if job.primary_unit in COMPUTE_UNITS else "mixed"
    return largest if 2 * shares[largest] > total else "mixed"


def _precision(stated: str, unit: str) -> str:
    """Return the precision that ran: `float` is fp32 on a CPU, fp16 on Hexagon and Adreno, as in the older layout."""
    if stated != "float":
        return PRECISIONS.get(stated, stated)
    return {"cpu": "fp32", "mixed": "float"}.get(unit, "fp16")


def _versions(versions: Mapping[str, str]) -> str:
    return " ".join(f"{tool} {version}" for tool, version in sorted(versions.items()))
