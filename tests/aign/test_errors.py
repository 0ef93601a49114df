"""Errors that a person can mend."""

import pickle

from aign.errors import UserError


def test_says_value_reason_and_remedy_also_in_another_process():
    error = UserError("steps = 0", "less than one", "give a positive number")
    assert str(pickle.loads(pickle.dumps(error))) == "steps = 0: less than one; give a positive number"
