"""The console script `frm-mlflow`: finds a command in `runners/`, runs it, and turns errors into one sentence.

A command with a Hydra configuration takes settings, which `overrides` converts to Hydra's form. The others are
click commands. Nothing but click is imported for `--help` and for completing command names.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from frm_mlflow import __version__
from frm_mlflow.errors import ConfigError
from frm_mlflow.folders import ensure_home
from frm_mlflow.near import did_you_mean

WITH_SETTINGS: dict[str, str] = {
    "bench": "benchmark models on this machine and log one run per model",
    "gate": "decide by interval whether a model may be shipped to a device (exit code 0, 1 or 2)",
    "attach": "benchmark a model that MLflow has logged, and log the result to its run",
    "ingest": "import results from other tools",
    "analyze": "compute the paper's analyses from the tracking server",
    "report": "write one self-contained HTML page from any set of runs",
    "predict": "predict latency and the Pareto frontier on a device without benchmarks",
    "recommend": "name the model to ship under a latency budget",
    "plan": "propose which models to measure next on a device",
}
"""Commands with a Hydra configuration, and a description of each."""

WITH_OPTIONS: dict[str, str] = {
    "doctor": "check hardware, runtimes, energy meters and the tracking server",
    "resend": "log the results that are stored on disk because the server was unavailable",
    "cache": "list or prune exported models",
    "device": "describe a remote device, or remove models that were copied to it",
    "fleet": "show the devices of a Ray cluster, their jobs and the queue",
    "completion": "print the shell completion script",
    "link-env": "let `mlflow run .` use this environment",
}
"""Commands with plain options, and a description of each."""


def runner(name: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f"frm_mlflow.runners.{name.replace('-', '_')}")


class Commands(click.Group):
    """All commands, each imported when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, those with settings first."""
        del ctx
        return [*WITH_SETTINGS, *WITH_OPTIONS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name in WITH_SETTINGS:
            return HydraCommand(cmd_name)
        if cmd_name in WITH_OPTIONS:
            command: click.Command = runner(cmd_name).command
            return command
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments start with; a wrong name gets near ones."""
        if not ctx.resilient_parsing and args[0] not in self.list_commands(ctx):
            near = did_you_mean(args[0], self.list_commands(ctx))
            remedy = near or " `frm-mlflow --help` lists the commands."
            raise ConfigError(f"there is no command '{args[0]}'.{remedy}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their descriptions."""
        del ctx
        for heading, commands in (("Commands with settings (key=value)", WITH_SETTINGS), ("Others", WITH_OPTIONS)):
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))


class HydraCommand(click.Command):
    """A command whose words all go to Hydra, and whose completion is Hydra's."""

    def __init__(self, name: str) -> None:
        super().__init__(name, callback=lambda: run_with_hydra(name, click.get_current_context().args))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep all words as they are."""
        ctx.args = list(args)
        return ctx.args

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the settings and values that Hydra would complete the word to."""
        line = " ".join(["frm-mlflow", *ctx.args, incomplete])
        script = (
            f"from frm_mlflow.cli import main; import sys; sys.argv[1:] = ['{self.name}', '-sc', 'query=bash']; main()"
        )
        environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
        environment.pop("_FRM_MLFLOW_COMPLETE", None)
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        return [CompletionItem(word) for word in done.stdout.split()]


HELP = """Which network should I ship on hardware that I cannot all measure?

Settings are key=value words; `-m key=a,b` runs every combination.
"""


@click.group("frm-mlflow", cls=Commands, help=HELP, epilog="`frm-mlflow COMMAND --help` explains a command.")
@click.version_option(__version__, message="%(prog)s %(version)s", prog_name="frm-mlflow")
def frm_mlflow() -> None:
    """Run one of the commands."""


def run_with_hydra(name: str, words: Sequence[str]) -> None:
    """Run a command with the configuration that Hydra composes from `conf/NAME.yaml` and the words."""
    # Otherwise Hydra prints its own shortened traceback; errors are handled in `main` instead.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    from frm_mlflow import multirun, overrides
    from frm_mlflow.launcher import plugins

    sys.argv = [f"frm-mlflow {name}", *overrides.overrides_of(name, words)]
    plugins.register()
    with multirun.scope():
        hydra_application(name)()


def hydra_application(name: str) -> Callable[[], None]:
    """Return the Hydra application of a command; the command's own imports wait until it has a configuration."""
    import hydra
    from omegaconf import DictConfig

    from frm_mlflow.exits import hydra_job

    @hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name=name)
    def application(config: DictConfig) -> None:
        with hydra_job():
            getattr(runner(name), name)(config)

    return application  # type: ignore[no-any-return]


def dispatch(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        return int(frm_mlflow.main(list(arguments) or ["--help"], "frm-mlflow", standalone_mode=False) or 0)
    except click.NoSuchOption as error:
        near = did_you_mean(error.option_name, error.possibilities or ())
        raise ConfigError(f"there is no option {error.option_name}.{near}") from error
    except click.UsageError as error:
        raise ConfigError(error.format_message()) from error


def main() -> None:
    """Entry point of the console script: every error caused by the user becomes one message and an exit code."""
    _substitute_what_the_terminal_lacks()
    ensure_home()
    if "_FRM_MLFLOW_COMPLETE" in os.environ:
        frm_mlflow.main(prog_name="frm-mlflow")
    try:
        code = dispatch(sys.argv[1:])
    except BrokenPipeError:  # the reader (`| head`) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (KeyboardInterrupt, click.Abort):
        again = (
            "; the same command with resume=true measures only what is missing"
            if sys.argv[0].endswith(" bench")
            else ""
        )
        sys.stderr.write(f"frm-mlflow: interrupted{again}\n")
        code = 130
    except Exception as error:
        from frm_mlflow.exits import exit_code, is_explained, sentence

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
