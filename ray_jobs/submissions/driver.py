"""The cluster's end of a submission: ``python -m ray_jobs.submissions.driver VERB ...`` is what a Ray job runs."""

import json
import os
import sys
from pathlib import Path

ENVIRONMENT_FILE = "passed_environment.json"


def load_environment() -> None:
    """Take over the variables that were passed; Ray calls this in every process of the job but the first."""
    passed = Path(ENVIRONMENT_FILE)  # a job's processes begin in its working directory
    if passed.exists():
        os.environ.update(json.loads(passed.read_text())["variables"])


def run() -> None:
    """Run the command, or say in one line which package this Python lacks: it is the one that the head's Ray finds."""
    try:
        import ray_jobs.cli.options  # noqa: F401  # which needs what every verb needs
        from ray_jobs.cli.console import main
    except ModuleNotFoundError as error:
        remedy = "start Ray on the head where the python of this project is the first on PATH"
        sys.exit(f"error: {sys.executable}: has no {error.name}; {remedy}")
    main()


if __name__ == "__main__":
    load_environment()
    run()
