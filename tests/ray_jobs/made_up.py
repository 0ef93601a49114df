"""What runs leave, made up."""

import json


def export_of(steps: int) -> bytes:
    """The export/config.json of a run that has come to its end."""
    measured = {
        "data": "d",
        "num_samples": 1,
        "metrics": {},
        "baselines": {},
        "groups": {},
        "inductive": {},
        "notes": "",
    }
    splits = {split: measured | {"split": split} for split in ("validation", "test")}
    return json.dumps({"progress": {"step": steps, "clock": steps}, **splits}).encode()
