"""`frm-mlflow bench` when things go wrong: finished results are kept, and failures give the reason."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient

from frm_mlflow import schema
from tests.faults.process import Command, preload
from tests.faults.proxy import running_proxy

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
SMALL = ("device=cpu", "baseline=squeezenet1_1", "measure=quick", "model.input_size=64")


@pytest.fixture
def environment(mlflow_server: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "broken_models.py").write_text(BROKEN_MODELS)
    return os.environ | {
        "MLFLOW_TRACKING_URI": mlflow_server,
        "FRM_MLFLOW_SPOOL": str(tmp_path / "spool"),
        "PYTHONPATH": str(tmp_path),
    }


BROKEN_MODELS = '''
import os
import torch


class Refuses(torch.nn.Module):
    """Runs a few times, so that it is exported, and then ends its process."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 8, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 30:
            os.abort()
        return self.layer(x).mean((2, 3))


def dies():
    return Refuses()


def cannot_be_built():
    raise RuntimeError("no weights on this disk")
'''


def bench(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process, forked after the imports; some tests load the script instead."""
    preload()
    with tempfile.TemporaryDirectory() as scratch:
        folder, out, errors = Path(scratch), Path(scratch, "out"), Path(scratch, "errors")
        command = Command.start(("bench", *arguments), environ=environment, folder=folder, log=out, errors=errors)
        code = command.wait(600)
        return subprocess.CompletedProcess(arguments, code, out.read_text(), errors.read_text())


def children(uri: str, experiment: str) -> Sequence:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], f"tags.`{schema.KIND.key}` = '{schema.KIND_BENCHMARK}'")


@pytest.mark.parametrize(("factory", "reason"), [("dies", "SIGABRT"), ("cannot_be_built", "no weights on this disk")])
def test_a_model_that_fails_is_a_failed_child_and_the_exit_code_is_1(
    factory: str, reason: str, mlflow_server: str, environment: dict[str, str]
) -> None:
    experiment = f"broken-{factory}"
    own = ("model=target", f"model.target=broken_models:{factory}", f"model.name={factory}", "runtime=torch")
    result = bench(*own, *SMALL, f"tracking.experiment={experiment}", environment=environment)

    assert result.returncode == 1, result.stderr[-2000:]
    runs = {run.data.tags["frm.model"]: run for run in children(mlflow_server, experiment)}
    assert runs["squeezenet1_1"].info.status == "FINISHED"
    assert runs[factory].info.status == "FAILED"
    assert reason in runs[factory].data.tags["frm.reason"]
    assert reason in result.stderr


def test_ctrl_c_closes_what_runs_as_killed_and_keeps_what_finished(
    mlflow_server: str, environment: dict[str, str]
) -> None:
    own = ("models=[mobilenet_v3_small,resnet18]", "tracking.experiment=interrupted")
    process = subprocess.Popen(
        [FRM_MLFLOW, "bench", *SMALL, *own],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        statuses = _statuses(mlflow_server)
        if "FINISHED" in statuses and "RUNNING" in statuses:
            break
        time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)

    assert process.returncode == 130
    statuses = _statuses(mlflow_server)
    assert statuses.count("FINISHED") >= 1
    # An interrupt while a finished benchmark is being logged does not stop the logging.
    assert set(statuses) <= {"FINISHED", "KILLED"}
    parents = MlflowClient(mlflow_server).search_runs(
        [MlflowClient(mlflow_server).get_experiment_by_name("interrupted").experiment_id],
        f"tags.`{schema.KIND.key}` = '{schema.KIND_SWEEP}'",
    )
    assert [run.info.status for run in parents] == ["KILLED"]

    again = bench(*SMALL, *own, "resume=true", environment=environment)

    assert again.returncode == 0, again.stderr[-2000:]
    finished = [run for run in children(mlflow_server, "interrupted") if run.info.status == "FINISHED"]
    assert sorted(run.data.tags["frm.model"] for run in finished) == ["mobilenet_v3_small", "resnet18", "squeezenet1_1"]


def _heed_interrupts() -> None:
    """Restore SIGINT: shells start background jobs with it ignored, and child processes would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _statuses(uri: str, experiment: str = "interrupted") -> list[str]:
    if MlflowClient(uri).get_experiment_by_name(experiment) is None:
        return []
    return [run.info.status for run in children(uri, experiment)]


@pytest.mark.slow  # tests/faults/test_resume.py does it in CI, with commands that are forked instead of loaded
def test_kill_9_then_resume_runs_only_what_is_missing_and_a_living_sweep_is_left_alone(
    mlflow_server: str, environment: dict[str, str]
) -> None:
    """The whole process group dies at once: nothing can close the runs, so the resume has to."""
    own = (*SMALL, "models=[mobilenet_v3_small]", "runtime.threads=1", "tracking.experiment=killed")
    command = [FRM_MLFLOW, "bench", *own]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while sorted(_statuses(mlflow_server, "killed")) != ["FINISHED", "RUNNING"]:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGSTOP)  # it stays alive but makes no progress while the other process checks
        refused = bench(*own, "resume=true", environment=environment)
        assert refused.returncode == 2
        assert f"still running here as process {process.pid}" in refused.stderr
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {run.info.run_id: run.info.status for run in children(mlflow_server, "killed")}
    assert sorted(before.values()) == ["FINISHED", "RUNNING"]

    again = bench(*own, "resume=true", environment=environment)

    assert again.returncode == 0, again.stderr[-2000:]
    runs = children(mlflow_server, "killed")
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED", "KILLED"]
    new = [run for run in runs if run.info.run_id not in before]
    assert [run.data.tags["frm.model"] for run in new] == ["mobilenet_v3_small"]
    orphan = next(run for run in runs if run.info.status == "KILLED")
    assert before[orphan.info.run_id] == "RUNNING"
    assert "resumed" in orphan.data.tags["frm.reason"]
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 1


def test_a_multirun_has_one_parent_whose_leaderboard_and_analyses_do_not_hang_on_a_job_that_failed(
    mlflow_server: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    broken = "name: broken\nsource: target\ntarget: broken_models:cannot_be_built\n"
    (tmp_path / "conf" / "model" / "broken.yaml").write_text(broken)
    jobs = ("model=broken,mobilenet_v3_small,resnet18", "analysis=all", "tracking.experiment=multirun")
    result = bench("-m", f"--config-dir={tmp_path / 'conf'}", *SMALL, *jobs, environment=environment)

    assert result.returncode == 1, result.stderr[-2000:]
    runs = children(mlflow_server, "multirun")
    statuses = sorted((run.data.tags["frm.model"], run.info.status) for run in runs)
    measured = ["mobilenet_v3_small", "resnet18", "squeezenet1_1"]
    assert statuses == [("broken", "FAILED"), *((model, "FINISHED") for model in measured)]
    [parent_id] = {run.data.tags["mlflow.parentRunId"] for run in runs}
    client = MlflowClient(mlflow_server)
    parent = client.get_run(parent_id)
    assert parent.info.status == "FAILED"
    assert {file.path for file in client.list_artifacts(parent_id)} >= {"leaderboard.json", "leaderboard.csv"}
    experiment = [parent.info.experiment_id]
    [analysis] = client.search_runs(experiment, f"tags.`{schema.KIND.key}` = '{schema.KIND_ANALYSIS}'")
    assert analysis.info.status == "FINISHED"
    assert analysis.data.params["baseline"] == "squeezenet1_1"
    assert any(file.path == "frm" for file in client.list_artifacts(analysis.info.run_id))


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model=resnet19", "resnet18"),
        ("device=toaster", "rtx_4090"),
        ("runtime=tensorflow", "onnxruntime"),
        ("measure.run=5", "measure.run"),
        ("models=[paper,resnet19]", "resnet18"),
    ],
)
def test_an_unknown_name_ends_with_2_and_the_valid_ones(override: str, named: str, environment: dict[str, str]) -> None:
    result = bench(override, environment=environment)

    assert result.returncode == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_that_is_down_is_noticed_before_anything_is_measured(environment: dict[str, str]) -> None:
    started = time.monotonic()
    result = bench(*SMALL, environment=environment | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})

    assert result.returncode == 1
    assert "127.0.0.1:9" in result.stderr
    assert "ms" not in result.stdout
    assert time.monotonic() - started < 120


def test_results_that_are_only_on_disk_give_exit_code_3(mlflow_server: str, environment: dict[str, str]) -> None:
    port = urlsplit(mlflow_server).port
    assert port is not None
    command = (*SMALL, "model=squeezenet1_1", "tracking.experiment=outage")
    with running_proxy(port) as proxy, ThreadPoolExecutor(1) as pool:
        environment = environment | {"MLFLOW_TRACKING_URI": proxy.uri}
        sweep = pool.submit(bench, *command, environment=environment)
        while "RUNNING" not in _statuses(mlflow_server, "outage"):
            assert not sweep.done(), sweep.result().stderr[-2000:]
            time.sleep(0.1)
        proxy.weather.set("down")
        result = sweep.result()

        assert result.returncode == 3, result.stderr[-2000:]
        assert "only on disk" in result.stderr
        assert "frm-mlflow resend" in result.stderr
        assert "FINISHED" not in _statuses(mlflow_server, "outage")

        proxy.weather.set("fair")
        resent = subprocess.run(
            [FRM_MLFLOW, "resend"], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert resent.returncode == 0, resent.stderr
    assert set(_statuses(mlflow_server, "outage")) == {"FINISHED"}


def test_help_shows_the_groups_with_their_choices(environment: dict[str, str]) -> None:
    result = subprocess.run(
        [FRM_MLFLOW, "bench", "--help"], env=environment, capture_output=True, text=True, timeout=120
    )

    assert result.returncode == 0
    assert all(
        name in result.stdout for name in ("mobilenet_v2", "rtx_4090", "onnxruntime", "paper", "frm-mlflow bench -m")
    )
