"""Jobs that train, measure and use AIGNs on a laptop, a Ray cluster or an autoscaled cloud."""

import sys

from ray_jobs.cli.home import ensure_home

if sys.argv[:1] == ["-m"]:  # python -m ray_jobs.VERB, which imports for seconds before its first line runs
    from ray_jobs.launch.signals import end_at_signals

    end_at_signals()
ensure_home()  # before anything that looks for one is imported
