"""Global batch norm: two workers with half a batch each equal one with all of it."""

import copy

import pytest
import torch
from torch import nn

from aign.losses.adversarial import r1_penalty
from aign.training.batch_norm import GlobalBatchNorm, with_global_batch_norm, without_statistics
from aign.training.workers import mean_over_workers
from tests.aign.training.processes import run_workers

NUM_WORKERS = 2


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(2, 3, 1),
        nn.BatchNorm1d(3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(12, 5),
        nn.BatchNorm1d(5, affine=False),
        nn.Linear(5, 1),
    ).double()


def batch():
    return 3 * torch.randn(8, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 5


def learn(module, inputs):
    """Outputs, the gradients of a loss with a gradient penalty, and buffers, after two passes."""
    for _ in range(2):
        module.zero_grad()
        inputs = inputs.detach().requires_grad_()
        outputs = module(inputs)[:, 0]
        (outputs.square().mean() + r1_penalty(outputs, inputs)).backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in module.named_parameters()}
    buffers = {name: buffer.double() for name, buffer in module.named_buffers()}
    module.eval()
    return outputs.detach(), module(inputs)[:, 0].detach(), gradients | buffers


def work(rank):
    outputs, in_evaluation, values = learn(with_global_batch_norm(network()), batch().chunk(NUM_WORKERS)[rank])
    averaged = {name: mean_over_workers(value) for name, value in values.items()}
    return outputs, in_evaluation, averaged


@pytest.fixture(scope="module")
def of_two_workers(tmp_path_factory):
    return run_workers(work, tmp_path_factory.mktemp("workers"), NUM_WORKERS)


def test_two_workers_equal_one(of_two_workers):
    outputs, in_evaluation, values = learn(network(), batch())
    torch.testing.assert_close(torch.cat([o for o, _, _ in of_two_workers]), outputs)
    torch.testing.assert_close(torch.cat([e for _, e, _ in of_two_workers]), in_evaluation)
    for _, _, averaged in of_two_workers:
        torch.testing.assert_close(averaged, values)


def test_one_worker_equals_plain_batch_norm_bit_by_bit():
    plain = learn(network(), batch())
    ours = learn(with_global_batch_norm(network()), batch())
    torch.testing.assert_close(ours, plain, atol=0, rtol=0)


def test_conversion_keeps_weights_buffers_and_mode():
    module = network()
    learn(module, batch())
    module[1].eval()
    twin = with_global_batch_norm(copy.deepcopy(module))
    assert [type(child) for child in twin if isinstance(child, GlobalBatchNorm)] == [GlobalBatchNorm] * 2
    torch.testing.assert_close(dict(twin.state_dict()), dict(module.state_dict()), atol=0, rtol=0)
    assert twin[1].training is False
    torch.testing.assert_close(twin(batch()), module(batch()), atol=0, rtol=0)


def test_a_network_that_is_a_batch_norm_is_made_global_too():
    norm = nn.BatchNorm1d(2)
    norm.weight.requires_grad_(False)
    twin = with_global_batch_norm(norm)
    assert isinstance(twin, GlobalBatchNorm)
    assert [p.requires_grad for p in twin.parameters()] == [False, True]


def test_frozen_statistics_and_recomputation_do_not_depend_on_the_device():
    """One implementation on all devices: the meta device stands for one that is not the CPU."""
    module = with_global_batch_norm(network().to("meta"))
    with without_statistics([module]):
        assert module(torch.empty(8, 2, 4, dtype=torch.float64, device="meta")).shape == (8, 1)
    assert [type(child) for child in module if isinstance(child, GlobalBatchNorm)] == [GlobalBatchNorm] * 2
