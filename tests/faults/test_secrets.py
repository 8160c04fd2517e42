"""Secrets planted wherever users may have some do not reach any server or file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.mlflow_server import running_server
from frm_mlflow import schema
from tests.faults.world import ARGUMENTS, ROOT

PLANTED = {
    "MLFLOW_TRACKING_PASSWORD": "planted-password-1",
    "MLFLOW_TRACKING_USERNAME": "alice",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret-2",
    "AWS_SESSION_TOKEN": "planted-session-3",
    "HF_TOKEN": "hf_planted4planted4planted4",
}
IN_SETTINGS = "planted-kwarg-5"
IN_TAG = "planted-url-6"

LEAKY = '''
import os
import sys
import torch

SECRETS = [os.environ[name] for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN")]


class Leaky(torch.nn.Module):
    """Prints what it must not, and then dies with it in its message."""

    def __init__(self, hub_token):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)
        self.told, self.calls = hub_token, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 30:
            print("I was told", self.told, *SECRETS, file=sys.stderr, flush=True)
            raise RuntimeError(f"cannot log in with {self.told} and {SECRETS}")
        return self.layer(x).mean((2, 3))


def leaky(hub_token):
    return Leaky(hub_token)
'''


@pytest.mark.slow
def test_planted_secrets_are_nowhere(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(LEAKY)
    own = ["model=target", "model.name=leaky", "model.target=leaky:leaky", f"+model.kwargs.hub_token={IN_SETTINGS}"]
    own += ["model.input_shape=[3,16,16]", "runtime=torch", "baseline=tiny_base", "measure=tiny", "device=cpu"]
    own += [f"+tracking.tags.origin='https://me:{IN_TAG}@git.example/x'", "tracking.experiment=planted"]
    command = [str(Path(sys.executable).parent / "frm-mlflow"), "bench", ARGUMENTS[1], *own]
    with running_server(tmp_path / "server") as uri:
        address = uri.replace("http://", f"http://alice:{PLANTED['MLFLOW_TRACKING_PASSWORD']}@")
        environ = os.environ | PLANTED | {"MLFLOW_TRACKING_URI": address, "FRM_CACHE_DIR": str(tmp_path / "cache")}
        environ |= {"FRM_MLFLOW_SPOOL": str(tmp_path / "spool"), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "I was told" in done.stderr or "cannot log in" in done.stderr, done.stderr[-3000:]
    secrets = [*(value for key, value in PLANTED.items() if key != "MLFLOW_TRACKING_USERNAME"), IN_SETTINGS, IN_TAG]
    assert not [secret for secret in secrets if secret in done.stderr + done.stdout]
    everywhere = [path for path in (tmp_path / "server").rglob("*") if path.is_file() and path.name != "server.log"]
    contents = {path: path.read_bytes() for path in everywhere}
    assert any(schema.REASON.key.encode() in content for content in contents.values()), "the failure was logged"
    found = [
        (path.name, secret) for path, content in contents.items() for secret in secrets if secret.encode() in content
    ]
    assert found == []
