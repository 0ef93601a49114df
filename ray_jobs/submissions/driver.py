"""The cluster's end of a submission: ``python -m ray_jobs.submissions.driver VERB ...`` is what a Ray job runs."""

import json
import os
from pathlib import Path

from ray_jobs.console import main

ENVIRONMENT_FILE = "passed_environment.json"


def load_environment() -> None:
    """Take over the variables that were passed; Ray calls this in every process of the job but the first."""
    passed = Path(ENVIRONMENT_FILE)  # a job's processes begin in its working directory
    if passed.exists():
        os.environ.update(json.loads(passed.read_text())["variables"])


if __name__ == "__main__":
    load_environment()
    main()
