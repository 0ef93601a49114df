"""DeepSpeed engines equal the plain one: at every ZeRO stage, on any number of workers, across a change of stage."""

import pytest

from aign.training.learning import part_of
from tests.ray_jobs.worker.engine_matrix import BUFFERS, MOMENTS, NUM_WORKERS, WEIGHTS, labels, result, train_all
from tests.ray_jobs.worker.engine_worker import CASES, CONTINUED, PARTS, cases

pytestmark = pytest.mark.long

HALF = ("bf16", "fp16")
ARMS = [(n, case, label) for n in NUM_WORKERS for case in cases(n) for label in labels(n, case)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What one, two and three processes trained: ``trained(num_workers, case, label)``."""
    folder = tmp_path_factory.mktemp("engines")
    train_all(folder, "quick")
    return lambda *arm: result(folder, *arm)


@pytest.mark.parametrize("case", CASES)
def test_the_rule_takes_all_its_branches(case, trained):
    assert set(trained(1, case, "plain").about["decisions"]) == {0, 1, 2}


@pytest.mark.parametrize("case", PARTS)
def test_parts_learn_by_stage(case, trained):
    updates = trained(1, case, "plain").engines["generator"].meta["updates"]
    for part, how in PARTS[case].items():
        assert len({count for name, count in updates.items() if part_of(name, [part])}) == int(not how.frozen)
    assert len(set(updates.values())) == 2  # of what the second stage trains, and of the rest


@pytest.mark.parametrize(("num_workers", "case", "label"), [arm for arm in ARMS if arm[1] not in HALF])
def test_an_arm_equals_the_plain_engine_on_the_full_batch(num_workers, case, label, trained):
    arm, plain = trained(num_workers, case, label), trained(1, case, "plain")
    assert arm.decides_like(plain)
    assert arm.infers_like(plain)
    for name, state in plain.engines.items():
        assert arm.engines[name].meta == state.meta
        shapes = {key: tensor.shape for key, tensor in state.tensors.items()}
        assert {key: tensor.shape for key, tensor in arm.engines[name].tensors.items()} == shapes
    # a rounding error can put a sample on the other side of a leaky ReLU's kink: moments tell, weights hardly
    assert arm.distance(plain, WEIGHTS) <= 1e-5
    assert arm.distance(plain, MOMENTS) <= 1e-3
    assert arm.distance(plain, BUFFERS) <= 1e-3


@pytest.mark.parametrize(("num_workers", "case", "label"), [arm for arm in ARMS if arm[1] in HALF])
def test_loss_curves_in_half_precision_stay_within_a_bound(num_workers, case, label, trained):
    # a half precision has 8 (bf16) or 11 (fp16) bits, and other sums of them on other workers; losses are around one
    assert trained(num_workers, case, label).loss_gap(trained(1, case, "plain")) <= 0.05


@pytest.mark.parametrize("label", labels(2, CONTINUED)[4:])
def test_a_state_saved_at_one_stage_continues_at_another_as_if_nothing_had_happened(label, trained):
    before = label.split()[1]
    continued, uninterrupted = trained(2, CONTINUED, label), trained(2, CONTINUED, f"stage {before}")
    # stages add a gradient's norm up in different orders, and with it what clipping makes of every weight
    assert continued.distance(uninterrupted, WEIGHTS) <= 1e-6
