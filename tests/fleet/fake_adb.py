#!/usr/bin/env python3
"""An `adb` that replays what the real one prints; what the phone's shell is asked for runs on a folder of its own.

`FAKE_ADB` names a folder with `scenario.json`:
  devices     what `adb devices -l` prints
  answers     shell command → what it prints
  shots       stem of the model's file → its shots' texts, in turn
  fail        number of a call (or word of it) → [exit code, standard output, standard error]
Every call is appended to `calls.jsonl`; the phone's files lie in `phone/`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ["FAKE_ADB"])
PHONE = STATE / "phone"


def main(words: list[str]) -> int:
    scenario = json.loads((STATE / "scenario.json").read_text())
    calls = STATE / "calls.jsonl"
    with calls.open("a") as log:
        log.write(json.dumps(words) + "\n")
    if words[:1] == ["devices"]:
        sys.stdout.write(scenario["devices"])
        return 0
    assert words[0] == "-s", words
    command = words[2:]
    for key, (code, output, errors) in scenario.get("fail", {}).items():
        if key in " ".join(command):
            if key == scenario.get("fail_once"):
                scenario["fail"].pop(key)
                (STATE / "scenario.json").write_text(json.dumps(scenario))
            sys.stdout.write(output)
            sys.stderr.write(errors)
            return int(code)
    if command[0] == "get-state":
        sys.stdout.write("device\n")
        return 0
    if command[0] == "push":
        return push(Path(command[1]), command[2])
    return shell(command[1], scenario)


def push(source: Path, target: str) -> int:
    place = PHONE / target.lstrip("/")
    shutil.copyfile(source, place)
    size = source.stat().st_size
    sys.stdout.write(f"{source}: 1 file pushed, 0 skipped. 31.4 MB/s ({size} bytes in 0.100s)\n")
    return 0


def shell(script: str, scenario: dict) -> int:
    if script in scenario["answers"]:
        sys.stdout.write(scenario["answers"][script])
        return 0
    if script.startswith("timeout "):
        return shot(script, scenario)
    here = script.replace("/data/local/tmp", str(PHONE / "data/local/tmp"))
    done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout.replace(str(PHONE), ""))
    sys.stderr.write(done.stderr)
    return done.returncode


def shot(script: str, scenario: dict) -> int:
    """Print the next text of the model that the command line names; it must be a file that was pushed whole."""
    names = [word for word in script.replace("=", " ").split() if "/model-" in word]
    place = PHONE / names[-1].lstrip("/")
    program = PHONE / script.split()[2].lstrip("/")
    if not (place.exists() and os.access(program, os.X_OK)):
        sys.stderr.write(f"/system/bin/sh: {script.split()[2]}: can't execute: Permission denied\n")
        return 126
    texts = scenario["shots"].get(place.name) or scenario["shots"]["*"]
    number = int((STATE / f"{place.name}.shots").read_text() or 0) if (STATE / f"{place.name}.shots").exists() else 0
    (STATE / f"{place.name}.shots").write_text(str(number + 1))
    sys.stdout.write(texts[number % len(texts)])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
