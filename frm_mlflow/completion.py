"""Shell completion of `frm-mlflow`: commands by name, overrides by Hydra's own completion.

Hydra completes a single application, which is called with the command line in `COMP_LINE`. Hydra does not
expect a subcommand there, so the scripts remove it before the call.
"""

from __future__ import annotations

from collections.abc import Sequence

from frm_mlflow.errors import ConfigError

_BASH = """\
_frm_mlflow_complete() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$current"))
    return
  fi
  local command="${{COMP_WORDS[1]}}"
  local line="frm-mlflow ${{COMP_LINE#*"$command" }}"
  local words
  words=$(COMP_LINE="$line" COMP_POINT="${{#line}}" COMP_CWORD=$((COMP_CWORD - 1)) \\
    frm-mlflow "$command" -sc query=bash 2>/dev/null)
  COMPREPLY=($(compgen -o nospace -o default -W "$words" -- "$current"))
}}
COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}
complete -o nospace -o default -F _frm_mlflow_complete frm-mlflow
"""

_FISH = """\
function __frm_mlflow_complete
  set -l words (commandline -opc) (commandline -ct)
  if test (count $words) -le 2
    printf '%s\\n' {commands_fish}
    return
  end
  set -l line "frm-mlflow $words[3..-1]"
  env COMP_LINE="$line" frm-mlflow $words[2] -sc query=fish 2>/dev/null
end
complete -c frm-mlflow -f -a '(__frm_mlflow_complete)'
"""


def script(shell: str, *, commands: Sequence[str]) -> str:
    """Return the completion script for `shell` (bash, zsh or fish).

    Raises
    ------
    ConfigError
        If the shell is not supported.
    """
    bash = _BASH.format(commands=" ".join(commands))
    if shell == "bash":
        return bash
    if shell == "zsh":
        return "autoload -Uz bashcompinit && bashcompinit\n" + bash
    if shell == "fish":
        return _FISH.format(commands_fish=" ".join(commands))
    raise ConfigError(f"there is no completion for '{shell}': use bash, zsh or fish")
