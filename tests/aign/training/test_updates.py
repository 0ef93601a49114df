"""Clipping, loss scaling and averaged weights around a plain optimizer."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from aign.training.engine import TorchEngine
from aign.training.updates import INITIAL_LOSS_SCALE, LossScale, UpdateOptions


def engine(*, lr=1.0, optimizer=SGD, **updates):
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    return TorchEngine(module, optimizer(module.parameters(), lr=lr), UpdateOptions(**updates))


def weights(engine):
    return torch.cat([parameter.detach().flatten() for parameter in engine.module.parameters()]).clone()


def learn(engine, factor=1.0, steps=1):
    for step in range(steps):
        inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
        engine.backward(factor * engine.module(inputs).square().mean())
        engine.step()


@pytest.mark.parametrize("scale_loss", [False, True])
def test_a_gradient_is_shortened_to_the_clip_and_no_short_one_is_touched(scale_loss):
    for clip, expected in ((0.01, 0.01), (1e6, None)):
        clipped, free = engine(clip=clip, scale_loss=scale_loss), engine()
        before = weights(clipped)
        learn(clipped)
        learn(free)
        moved, freely = weights(clipped) - before, weights(free) - before
        torch.testing.assert_close(moved.norm().item(), expected or freely.norm().item())
        torch.testing.assert_close(moved / moved.norm(), freely / freely.norm())


def test_scaled_losses_teach_the_same():
    scaled, plain = engine(scale_loss=True, optimizer=Adam, lr=0.1), engine(optimizer=Adam, lr=0.1)
    learn(scaled, steps=5)
    learn(plain, steps=5)
    torch.testing.assert_close(weights(scaled), weights(plain))


def test_an_update_that_overflows_is_left_out_and_halves_the_scale():
    engine_ = engine(scale_loss=True, optimizer=Adam, lr=0.1)
    learn(engine_)
    before = weights(engine_)
    learn(engine_, factor=float("inf"))
    assert torch.equal(weights(engine_), before)
    state = engine_.state()
    assert state.meta["loss_scale"] == {"scale": INITIAL_LOSS_SCALE / 2, "good_steps": 0}
    assert set(state.meta["updates"].values()) == {1}
    learn(engine_)
    assert not torch.equal(weights(engine_), before)


def test_the_scale_grows_after_many_good_updates_and_is_continued_from_a_state():
    scale = LossScale()
    for _ in range(1999):
        scale.update(finite=True)
    other = LossScale()
    other.load(scale.state())
    other.update(finite=True)
    assert (scale.scale, other.scale) == (INITIAL_LOSS_SCALE, 2 * INITIAL_LOSS_SCALE)


def test_the_average_follows_the_weights_and_takes_their_place_for_a_while():
    averaging = engine(ema=0.5, lr=0.1)
    expected = weights(averaging)
    for step in range(4):
        learn(averaging)
        decay = min(0.5, (2 + step) / (11 + step))
        expected = decay * expected + (1 - decay) * weights(averaging)
    own = weights(averaging)
    with averaging.averaged():
        torch.testing.assert_close(weights(averaging), expected)
    assert torch.equal(weights(averaging), own)
    saved = averaging.state().averaged_weights
    torch.testing.assert_close(torch.cat([saved["weight"].flatten(), saved["bias"]]), expected)


def test_without_an_average_the_weights_themselves_are_used():
    plain = engine()
    own = weights(plain)
    with plain.averaged():
        assert torch.equal(weights(plain), own)
    assert plain.state().averaged_weights.keys() == plain.state().weights.keys()


def test_a_loaded_engine_continues_average_and_scale_bit_by_bit():
    first, other = (engine(ema=0.9, clip=0.1, scale_loss=True, optimizer=Adam, lr=0.1) for _ in range(2))
    learn(first, steps=3)
    other.load(first.state())
    learn(first, steps=3)
    learn(other, steps=3)
    assert other.state().meta == first.state().meta
    for name, tensor in first.state().tensors.items():
        assert torch.equal(other.state().tensors[name], tensor), name


def test_a_state_without_an_average_starts_one_from_its_weights():
    plain, averaging = engine(), engine(ema=0.9)
    learn(plain, steps=3)
    averaging.load(plain.state())
    own = weights(averaging)
    with averaging.averaged():
        assert torch.equal(weights(averaging), own)
