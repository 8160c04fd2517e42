"""The console script `frm-mlflow`: its subcommands are the runners, plus a few that need no configuration.

A runner is a Hydra application. The words after its name are settings, which `stages.overrides` converts to Hydra
overrides.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frm_mlflow import __version__
from frm_mlflow.errors import ConfigError
from frm_mlflow.near import did_you_mean

RUNNERS: dict[str, str] = {
    "bench": "benchmark models on this machine and log a run each",
    "gate": "decide by interval whether a model may be shipped to a device (exit code 0, 1 or 2)",
    "attach": "benchmark a model that MLflow has logged, and log it to its run",
    "ingest": "import what other tools have measured",
    "analyze": "compute the paper's analyses from the tracking server",
    "report": "write one self-contained HTML page from any set of runs",
    "predict": "predict latency and the Pareto frontier on a device nobody measured",
    "recommend": "name the model to ship under a latency budget",
    "plan": "say which models to measure next on a device",
}
"""Commands that are Hydra applications in `runners/`, with a description of each."""


@dataclass(frozen=True)
class Command:
    """A command without a Hydra configuration."""

    summary: str
    run: Callable[[list[str]], int]


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def _doctor(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "frm-mlflow doctor", description="Print what this machine offers, and what is missing for more."
    )
    _add_json(parser)
    options = parser.parse_args(arguments)
    from frm_mlflow.stages import doctor

    findings = doctor.examine()
    if options.json:
        sys.stdout.write(json.dumps(findings, indent=2, default=str) + "\n")
    else:
        doctor.show(findings)
    return 0


def _resend(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "frm-mlflow resend", description="Log the results that were kept on disk because the tracking server went away."
    )
    parser.add_argument(
        "--uri", help="send everything to this server (default: the one that each result was meant for)"
    )
    _add_json(parser)
    options = parser.parse_args(arguments)
    from frm_mlflow.stages import resend

    return resend.resend(uri=options.uri, as_json=options.json)


def _cache(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("frm-mlflow cache", description="List or prune exported models.")
    parser.add_argument("action", choices=("list", "prune"), nargs="?", default="list")
    parser.add_argument(
        "--older-than-days", type=float, default=30.0, help="prune: entries not used for this long (default 30)"
    )
    _add_json(parser)
    options = parser.parse_args(arguments)
    from frm_mlflow.stages import exported_models

    if options.action == "prune":
        return exported_models.prune(older_than_days=options.older_than_days, as_json=options.json)
    return exported_models.show(as_json=options.json)


def _device(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "frm-mlflow device",
        description="Say what a device elsewhere is (probe), or remove models that were copied to it (prune).",
    )
    parser.add_argument("action", choices=("probe", "prune"))
    parser.add_argument("settings", nargs="+", help="device=NAME device.transport=ssh device.host=USER@HOST ...")
    parser.add_argument(
        "--older-than-days", type=float, default=30.0, help="prune: copies not used for this long (default 30)"
    )
    _add_json(parser)
    options = parser.parse_intermixed_args(arguments)
    from frm_mlflow.stages import remote_device

    if options.action == "prune":
        return remote_device.prune(options.settings, older_than_days=options.older_than_days, as_json=options.json)
    return remote_device.probe(options.settings, as_json=options.json)


def _fleet(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "frm-mlflow fleet", description="Show the devices of a Ray cluster, what each is doing, and which jobs wait."
    )
    parser.add_argument(
        "--address", default="auto", help="HOST:PORT of the head (default: RAY_ADDRESS, else the cluster of this host)"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    options = parser.parse_args(arguments)
    from frm_mlflow.launcher import fleet
    from frm_mlflow.stages.progress import console

    return fleet.show(address=options.address, as_json=options.json, out=console())


def _link_env(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "frm-mlflow link-env",
        description="Let `mlflow run .` use this environment: no pyenv, no second installation.",
    )
    parser.add_argument("--project", default=".", help="folder of the MLproject (default: this one)")
    _add_json(parser)
    options = parser.parse_args(arguments)
    from frm_mlflow.tracking import project_env

    link = project_env.link(project=options.project, environment=sys.prefix)
    if options.json:
        sys.stdout.write(json.dumps({"environment": sys.prefix, "link": str(link)}) + "\n")
    else:
        sys.stdout.write(f"mlflow run uses {sys.prefix} (through {link})\n")
    return 0


def _completion(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "frm-mlflow completion", description='Shell completion: eval "$(frm-mlflow completion bash)".'
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    _add_json(parser)
    options = parser.parse_args(arguments)
    from frm_mlflow import completion

    script = completion.script(options.shell, commands=(*RUNNERS, *COMMANDS))
    sys.stdout.write(json.dumps({"shell": options.shell, "script": script}) + "\n" if options.json else script)
    return 0


COMMANDS: dict[str, Command] = {
    "doctor": Command("print what hardware, runtimes, meters and tracking server are seen", _doctor),
    "resend": Command("log the results that were kept on disk while the server was away", _resend),
    "cache": Command("list or prune exported models", _cache),
    "device": Command("say what a device elsewhere is, or remove models that were copied to it", _device),
    "fleet": Command("show the devices of a Ray cluster, what each is doing, and the jobs that wait", _fleet),
    "completion": Command("print the shell completion script", _completion),
    "link-env": Command("let `mlflow run .` use this environment", _link_env),
}


def _usage() -> str:
    width = max(map(len, (*RUNNERS, *COMMANDS))) + 2
    lines = [
        "usage: frm-mlflow COMMAND [key=value ...]",
        "",
        "Which network should I ship on hardware that I cannot all measure?",
        "",
    ]
    lines += [f"  {name:<{width}}{summary}" for name, summary in RUNNERS.items()]
    lines.append("")
    lines += [f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "`frm-mlflow COMMAND --help` explains a command; `-m key=a,b` runs every combination.", ""]
    return "\n".join(lines)


def run_runner(name: str, arguments: Sequence[str]) -> None:
    """Run the Hydra application `runners/NAME.py` with `arguments`."""
    module = importlib.import_module(f"frm_mlflow.runners.{name}")
    # Otherwise Hydra prints its own shortened traceback; errors are handled in `main` instead.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    from frm_mlflow.launcher import plugins
    from frm_mlflow.stages import multirun, overrides

    sys.argv = [f"frm-mlflow {name}", *overrides.overrides_of(name, arguments)]
    plugins.register()
    with multirun.scope():
        module.main()


def dispatch(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_usage())
        return 0
    name, *rest = arguments
    if name == "--version":
        sys.stdout.write(f"frm-mlflow {__version__}\n")
        return 0
    if name in COMMANDS:
        return COMMANDS[name].run(rest)
    if name not in RUNNERS:
        near = did_you_mean(name, (*RUNNERS, *COMMANDS))
        raise ConfigError(f"there is no command '{name}'.{near or ' `frm-mlflow --help` lists the commands.'}")
    run_runner(name, rest)
    return 0


def main() -> None:
    """Entry point of the console script: every error caused by the user becomes one message and an exit code."""
    _substitute_what_the_terminal_lacks()
    try:
        code = dispatch(sys.argv[1:])
    except BrokenPipeError:  # the reader (`| head`) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        again = (
            "; the same command with resume=true measures only what is missing"
            if sys.argv[0].endswith(" bench")
            else ""
        )
        sys.stderr.write(f"frm-mlflow: interrupted{again}\n")
        code = 130
    except Exception as error:
        from frm_mlflow.stages.job import exit_code, is_explained, sentence

        if not is_explained(error):
            raise
        sys.stderr.write(f"frm-mlflow: {sentence(error)}\n")
        code = exit_code(error)
    sys.exit(code)


def _substitute_what_the_terminal_lacks() -> None:
    """Print `?` for a character that the terminal's encoding lacks (`PYTHONIOENCODING=ascii`, old consoles)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
