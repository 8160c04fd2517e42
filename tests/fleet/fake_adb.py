#!/usr/bin/env python3
"""An `adb` that replays what the real one prints; shell commands for the phone run in a local folder.

`FAKE_ADB` names a folder with `scenario.json`:
  devices       what `adb devices -l` prints
  answers       shell command → what it prints
  shots         stem of the model's file → its shots' texts, in turn
  shot_seconds  how long a shot takes
  ends          word of a shell command → [exit code, standard output, standard error] of the program on the phone
  fail          word of a call → [exit code, standard output, standard error] of adb itself
Every call is appended to `calls.jsonl`; the phone's files are in `phone/`. The file `state`, if present, holds the
phone's current connection: `device`, `offline`, `unauthorized` or `gone`. Commands running when it changes are cut off.

The texts of adb's own errors are those of its sources (transport.cpp, file_sync_client.cpp, commandline.cpp). As in the
real adb, a shell that is cut off exits with code 0 and prints nothing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_ADB"])
PHONE = STATE / "phone"
END = re.compile(r"; end=\$\?; echo; echo (\S+)\$end$")
"""The last command that the product gives the phone's shell."""
UNAUTHORIZED = (
    "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if that seems wrong.\n"
    "Otherwise check for a confirmation dialog on your device."
)
LOOK_EVERY_S = 0.01


def main(words: list[str]) -> int:
    scenario = json.loads((STATE / "scenario.json").read_text())
    calls = STATE / "calls.jsonl"
    with calls.open("a") as log:
        log.write(json.dumps(words) + "\n")
    if words[:1] == ["devices"]:
        sys.stdout.write(listed(scenario["devices"], state()))
        return 0
    assert words[0] == "-s", words
    serial, command = words[1], words[2:]
    if state() != "device":
        return refused(serial)
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
    code = shell(END.sub("", command[1]), scenario)
    if state() != "device":
        return 0
    if end := END.search(command[1]):
        sys.stdout.write(f"\n{end[1]}{code}\n")
        return 0
    return code


def state() -> str:
    """Return the phone's current connection state."""
    try:
        return (STATE / "state").read_text()
    except FileNotFoundError:
        return "device"


def listed(devices: str, now: str) -> str:
    if now == "gone":
        return "List of devices attached\n\n"
    return devices if now == "device" else re.sub(r"(?m)^(\S+\s+)device\b", rf"\1{now}", devices)


def refused(serial: str) -> int:
    reasons = {"offline": "device offline", "unauthorized": UNAUTHORIZED, "gone": f"device '{serial}' not found"}
    sys.stderr.write(f"error: {reasons[state()]}\n")
    return 1


def push(source: Path, target: str) -> int:
    place = PHONE / target.lstrip("/")
    try:
        shutil.copyfile(source, place)
    except OSError as error:
        place.unlink(missing_ok=True)
        why = "couldn't create file" if error.errno == errno.ENOENT else "write failed"
        sys.stderr.write(f"adb: error: failed to copy '{source}' to '{target}': remote {why}: {error.strerror}\n")
        return 1
    if state() != "device":
        place.write_bytes(place.read_bytes()[: source.stat().st_size // 2])
        sys.stderr.write("adb: error: failed to read copy response\n")
        return 1
    size = source.stat().st_size
    sys.stdout.write(f"{source}: 1 file pushed, 0 skipped. 31.4 MB/s ({size} bytes in 0.100s)\n")
    return 0


def shell(script: str, scenario: dict) -> int:
    for word, (code, output, errors) in scenario.get("ends", {}).items():
        if word in script:
            sys.stdout.write(output)
            sys.stderr.write(errors)
            return int(code)
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
    """Print the next text for the model on the command line, which must be a completely pushed file."""
    names = [word for word in script.replace("=", " ").split() if "/model-" in word]
    place = PHONE / names[-1].lstrip("/")
    program = PHONE / script.split()[2].lstrip("/")
    if not (place.exists() and os.access(program, os.X_OK)):
        sys.stderr.write(f"/system/bin/sh: {script.split()[2]}: can't execute: Permission denied\n")
        return 126
    texts = scenario["shots"].get(place.name) or scenario["shots"]["*"]
    number = int((STATE / f"{place.name}.shots").read_text() or 0) if (STATE / f"{place.name}.shots").exists() else 0
    (STATE / f"{place.name}.shots").write_text(str(number + 1))
    text = texts[number % len(texts)]
    over = time.monotonic() + scenario.get("shot_seconds", 0.0)
    while time.monotonic() < over:
        if state() != "device":
            text = text[: len(text) // 2]
            break
        time.sleep(LOOK_EVERY_S)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
