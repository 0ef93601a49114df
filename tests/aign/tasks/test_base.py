"""What tasks declare."""

from aign.tasks.stages import Stage


def test_adversarial_terms_switch_discriminators_on():
    weights = {"reprojection": 1.0, "adversarial/joints": 0.1, "adversarial/factors": 0.2}
    assert Stage(name="s", share=1.0, weights=weights).discriminators == ("joints", "factors")
