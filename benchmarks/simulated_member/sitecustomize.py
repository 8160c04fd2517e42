"""Make job processes on the simulated fleet's node wait instead of measuring; every Python there imports this module.

A job process reads its request and replies as `frm_mlflow.launcher.job_process` does, and records when it ran.
"""

import json
import os
import sys
import time

if "frm_mlflow.launcher.job_process" in sys.orig_argv:
    began = time.time()
    request = json.load(sys.stdin)
    time.sleep(float(os.environ["FRM_SIMULATED_SECONDS"]))
    device = next(word.partition("=")[2] for word in request["overrides"] if word.startswith("device="))
    line = json.dumps({"device": device, "began": began, "ended": time.time()}) + "\n"
    handle = os.open(os.environ["FRM_SIMULATED_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line.encode())
    outcome = {
        "name": request["label"],
        "status": "FINISHED",
        "run_id": "",
        "record_id": "",
        "reason": "",
        "kept": None,
    }
    print(json.dumps({"outcomes": [outcome], "error": "", "host": "", "seconds": 0.0}), flush=True)
    os._exit(0)
