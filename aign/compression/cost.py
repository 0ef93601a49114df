"""What a network costs: parameters, multiplications, memory of activations, seconds."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from aign.compression.thinning import is_layer

TURNS = 15


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """Of one layer and one sample."""

    macs: float
    """Multiplications with an addition."""
    parameters: int
    num_outputs: int
    """Numbers that it gives."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a network and one sample."""

    macs: float
    parameters: int
    activation_bytes: int
    """Of what all convolutions and linear layers give, as the paper counts feature maps."""
    layers: Mapping[str, LayerCost]


@torch.no_grad()
def cost_of(network: nn.Module, observed: Mapping[str, Tensor]) -> Cost:
    """What evaluating a network costs; ``observed`` is an example of any number of samples."""
    num_samples = len(next(iter(observed.values())))
    layers = {name: module for name, module in network.named_modules() if is_layer(module)}
    given: dict[str, int] = dict.fromkeys(layers, 0)
    num_bytes = 0

    def hook(name: str):
        def count(module: nn.Module, inputs: object, output: Tensor) -> None:
            nonlocal num_bytes
            given[name] += output.numel() // num_samples
            num_bytes += output.numel() * output.element_size() // num_samples

        return count

    handles = [module.register_forward_hook(hook(name)) for name, module in layers.items()]
    was_training = network.training
    try:
        with FlopCounterMode(display=False) as counter:
            network.eval()(dict(observed))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    flops = counter.get_flop_counts()
    root = type(network).__name__
    by_layer = {
        name: LayerCost(
            macs=sum(flops.get(f"{root}.{name}", {}).values()) / 2 / num_samples,
            parameters=sum(p.numel() for p in module.parameters()),
            num_outputs=given[name],
        )
        for name, module in layers.items()
    }
    return Cost(
        macs=counter.get_total_flops() / 2 / num_samples,
        parameters=sum(p.numel() for p in network.parameters()),
        activation_bytes=num_bytes,
        layers=by_layer,
    )


def latency_ratio(network: nn.Module, other: nn.Module, observed: Mapping[str, Tensor], num_threads: int = 1) -> float:
    """What a network takes in times of another: they take turns, so that a busy machine is as busy for both."""
    timers = [_timer(one, observed, num_threads) for one in (network, other)]
    for timer in timers:
        timer.timeit(1)
    ratios = []
    for _ in range(TURNS):
        own, others = (timer.timeit(1).median for timer in timers)
        ratios.append(own / others)
    return median(ratios)


def _timer(network: nn.Module, observed: Mapping[str, Tensor], num_threads: int) -> Timer:
    network = copy.deepcopy(network).eval().requires_grad_(False)
    return Timer("network(observed)", globals={"network": network, "observed": dict(observed)}, num_threads=num_threads)
