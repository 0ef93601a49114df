"""The adversarial step: which network learns from what, and when."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import softplus
from torch.optim import Adam

from aign.errors import UserError
from aign.memories import Memory
from aign.tasks.parts import Discriminator, GeneratorPart
from aign.training.engine import TorchEngine
from aign.training.loop import draw_batch
from aign.training.step import adversarial_step, frozen, infer, logits_of_inferred, total

BELOW, ABOVE = 0.0, 1000.0  # all losses


def weights_of(engine):
    return [parameter.detach().clone() for parameter in engine.module.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def gradients(engine):
    return [parameter.grad for parameter in engine.module.parameters()]


class Watched(TorchEngine):
    """An engine that looks at the other one's gradients whenever its own loss is propagated."""

    def __init__(self, engine):
        super().__init__(engine.module, engine.optimizer)
        self.others = []

    def backward(self, loss):
        super().backward(loss)
        self.others += gradients(self.other)


def test_each_phase_leaves_the_other_player_without_gradients(toy_step):
    arguments = toy_step(r1=1.0)
    generator, discriminators = (Watched(e) for e in vars(arguments["engines"]).values())
    generator.other, discriminators.other = discriminators, generator
    adversarial_step(
        **arguments | {"engines": replace(arguments["engines"], generator=generator, discriminators=discriminators)}
    )
    assert len(generator.others) == 4
    assert len(discriminators.others) == 2
    assert all(gradient is None for gradient in generator.others + discriminators.others)


def test_discriminators_pass_gradients_through_while_frozen_and_thaw_even_after_an_error(toy_step):
    engine = toy_step()["engines"].discriminators
    inputs = torch.randn(3, 2, requires_grad=True)

    def fail_after_a_backward_pass():
        with frozen(engine):
            engine.module["z"](inputs).sum().backward()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_a_backward_pass()
    assert inputs.grad.abs().min() > 0
    assert gradients(engine) == [None] * 4
    assert all(parameter.requires_grad for parameter in engine.module.parameters())


def test_what_was_frozen_before_a_step_never_learns(toy_step):
    arguments = toy_step()
    engines = arguments["engines"]
    for engine in (engines.generator, engines.discriminators):
        next(engine.module.parameters()).requires_grad_(False)
    before = weights_of(engines.generator), weights_of(engines.discriminators)
    for _ in range(2):
        adversarial_step(**arguments)
    for engine, weights in zip((engines.generator, engines.discriminators), before, strict=True):
        kept, *learnt = (torch.equal(a, b) for a, b in zip(weights_of(engine), weights, strict=True))
        assert kept
        assert not any(learnt)


class Passes(torch.nn.Module):
    """Sums what is observed of a sample, and keeps the names and size of each pass."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, observed):
        self.seen.append((*sorted(observed), len(observed["x"])))
        return {"sum": sum(values.sum(1) for values in observed.values())}


@pytest.mark.parametrize(
    ("more", "passes"), [({}, [("x", 8)]), ({"camera": torch.ones(4, 3)}, [("x", 4), ("camera", "x", 4)])]
)
def test_samples_that_observe_the_same_names_go_through_together_and_others_apart(more, passes, toy_step):
    batch, network = toy_step()["batch"], Passes()
    batch = replace(batch, unlabelled={"observed": batch.unlabelled["observed"] | more})
    labelled, unlabelled = infer(network, batch, "fp32")
    assert network.seen == passes
    assert torch.equal(labelled["sum"], batch.labelled["observed"]["x"].sum(1))
    added = sum(values.sum(1) for values in more.values())
    torch.testing.assert_close(unlabelled["sum"], batch.unlabelled["observed"]["x"].sum(1) + added)


def test_streams_of_one_kind_must_observe_the_same_names(toy):
    """Dropped, a name would be missing; made up, it would be wrong."""
    task, config, _ = toy()
    pairs = task.data.streams["pairs"]

    class WithCamera(type(pairs)):
        def load(self, plan):
            sample = super().load(plan)
            return sample | {"observed": sample["observed"] | {"camera": torch.zeros(len(plan["z"]), 3)}}

    task.data.streams["with camera"] = WithCamera(labelled=True)
    stage = replace(task.objective.stages[0], labelled=("pairs", "with camera"))
    task.objective.config = (stage,)
    with pytest.raises(UserError) as raised:
        draw_batch(task, stage, config, 0)
    assert "camera" in str(raised.value.value)


def test_a_step_equals_the_method_written_out(toy_step):
    arguments = toy_step(update_rule="paper", theta_d=ABOVE, theta_g=BELOW)
    written_out = toy_step()
    generator, network = written_out["task"].model.generator, written_out["task"].discriminators["z"].network
    batch = written_out["batch"]
    learn_g = Adam(generator.parameters(), lr=0.01, betas=(0.5, 0.99))
    learn_d = Adam(network.parameters(), lr=0.01, betas=(0.5, 0.99))

    z = generator(batch.unlabelled["observed"])["z"]
    loss_d = 0.5 * (softplus(-network(batch.remembered["z"]["z"])).mean() + softplus(network(z.detach())).mean())
    loss_d.backward()
    learn_d.step()
    for _ in range(2):
        paired = generator(batch.labelled["observed"])["z"]
        z = generator(batch.unlabelled["observed"])["z"]
        supervision = (paired - batch.labelled["truth"]["z"]).square().mean()
        reconstruction = (2 * z - batch.unlabelled["observed"]["x"]).square().mean()
        adversarial = softplus(-network(z)).mean()
        learn_g.zero_grad()
        (0.1 * supervision + reconstruction + 0.5 * adversarial).backward()
        learn_g.step()

    terms, updates = adversarial_step(**arguments)
    assert updates == 2
    expected = {
        "discriminator/z": loss_d,
        "supervision": supervision,
        "reconstruction": reconstruction,
        "adversarial/z": adversarial,
    }
    torch.testing.assert_close(terms, {name: value.detach() for name, value in expected.items()})
    engines = arguments["engines"]
    torch.testing.assert_close(list(engines.generator.module.parameters()), list(generator.parameters()))
    torch.testing.assert_close(list(engines.discriminators.module["z"].parameters()), list(network.parameters()))


@pytest.mark.parametrize(
    ("theta_d", "theta_g", "expected"), [(BELOW, ABOVE, 0), (BELOW, BELOW, 0), (ABOVE, ABOVE, 1), (ABOVE, BELOW, 2)]
)
def test_the_rule_decides_how_often_the_generator_learns(theta_d, theta_g, expected, toy_step):
    arguments = toy_step(update_rule="paper", theta_d=theta_d, theta_g=theta_g)
    engines = arguments["engines"]
    before = weights_of(engines.generator), weights_of(engines.discriminators)
    terms, updates = adversarial_step(**arguments)
    assert updates == expected
    assert engines.generator.state().meta["updates"] == (
        {"linear.weight": updates, "linear.bias": updates} if updates else {}
    )
    assert same(weights_of(engines.generator), before[0]) == (updates == 0)
    assert not same(weights_of(engines.discriminators), before[1])
    assert set(terms) == {"discriminator/z", "supervision", "reconstruction", "adversarial/z"}


def test_the_rule_looks_at_the_losses_themselves(toy_step):
    terms, _ = adversarial_step(**toy_step())
    loss_d, loss_g = terms["discriminator/z"].item(), terms["adversarial/z"].item()
    for (theta_d, theta_g), expected in {
        (loss_d - 0.01, ABOVE): 0,
        (loss_d + 0.01, loss_g + 0.01): 1,
        (loss_d + 0.01, loss_g - 0.01): 2,
    }.items():
        arguments = toy_step(update_rule="paper", theta_d=theta_d, theta_g=theta_g)
        assert adversarial_step(**arguments)[1] == expected


def test_a_stage_without_discriminators_teaches_none(toy_step):
    arguments = toy_step(update_rule="ratio", ratio=5)
    stage, engines = arguments["task"].objective.stages[0], arguments["engines"]
    before = weights_of(engines.discriminators)
    batch = draw_batch(arguments["task"], stage, arguments["config"], 0)
    terms, updates = adversarial_step(**arguments | {"stage": stage, "batch": batch})
    assert updates == 1  # there is nobody to wait for
    assert set(terms) == {"supervision"}
    assert same(weights_of(engines.discriminators), before)


def test_r1_is_a_term_of_its_own_and_changes_what_discriminators_learn(toy_step):
    plain, penalised = toy_step(), toy_step(r1=5.0)
    adversarial_step(**plain)
    terms, _ = adversarial_step(**penalised)
    assert terms["r1/z"] > 0
    assert not same(*(weights_of(a["engines"].discriminators) for a in (plain, penalised)))


def test_a_lazy_penalty_is_many_times_that_of_every_step_and_zero_between(toy_step):
    found = {}
    for name, step, every in (("every step", 2, 1), ("lazy", 2, 2), ("between", 1, 2), ("without", 1, 1)):
        arguments = toy_step(r1=0.0 if name == "without" else 5.0, r1_every=every) | {"step": step}
        terms, _ = adversarial_step(**arguments)
        found[name] = terms.get("r1/z"), weights_of(arguments["engines"].discriminators)
    assert found["lazy"][0] == 2 * found["every step"][0] > 0
    assert found["between"][0] == 0
    assert same(found["between"][1], found["without"][1])
    assert not same(found["lazy"][1], found["every step"][1])


@pytest.mark.parametrize("trains", [None, ("linear",)])
def test_a_stage_trains_the_parts_and_discriminators_that_it_names(trains, toy_step, monkeypatch):
    arguments = toy_step()
    engines, model = arguments["engines"], arguments["task"].model
    monkeypatch.setattr(type(model), "generator_parts", {"linear": GeneratorPart()})
    stage = replace(arguments["stage"], trains=trains, weights={"reconstruction": 1.0})
    before = weights_of(engines.generator), weights_of(engines.discriminators)
    adversarial_step(**arguments | {"stage": stage})
    assert not same(weights_of(engines.generator), before[0])
    assert same(weights_of(engines.discriminators), before[1])
    with engines.learning(arguments["task"], stage):
        assert not any(parameter.requires_grad for parameter in engines.discriminators.module.parameters())
        assert all(parameter.requires_grad for parameter in engines.generator.module.parameters())
    assert all(parameter.requires_grad for parameter in engines.discriminators.module.parameters())


@pytest.mark.parametrize("present", [("labelled", "unlabelled"), ("labelled",), ("unlabelled",)])
def test_one_pass_infers_what_separate_passes_do(present, toy_step):
    arguments = toy_step()
    generator, batch = arguments["task"].model.generator, arguments["batch"]
    batch = replace(batch, **{name: None for name in ("labelled", "unlabelled") if name not in present})
    if "labelled" in present:  # parts of different size, so that a wrong split shows
        batch = replace(batch, labelled={g: {n: v[:3] for n, v in t.items()} for g, t in batch.labelled.items()})
    for name, inferred in zip(("labelled", "unlabelled"), infer(generator, batch, "fp32"), strict=True):
        if name in present:
            torch.testing.assert_close(inferred, generator(getattr(batch, name)["observed"]))
        else:
            assert inferred is None


def test_total_weighs_the_terms_that_are_on():
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(3.0), "off": torch.tensor(torch.nan)}
    assert total(terms, {"a": 10.0, "b": 0.5, "absent": 7.0}) == 21.5


def test_a_discriminator_with_batch_norm_judges_the_same_in_both_phases():
    """Alone, inferred samples would be normalised by themselves, and what sets them apart would be gone."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8, bias=False), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
    network = torch.nn.Sequential(network, torch.nn.Flatten(0))
    remembered, inferred = {"x": torch.randn(6, 3)}, {"x": torch.randn(4, 3) + 2}
    memory = Memory({"x": torch.randn(20, 3)}, bias="all")
    critic = Discriminator(network=network, sees=lambda factors: factors["x"], memory=memory)
    together = network(torch.cat([remembered["x"], inferred["x"]]))[6:]
    torch.testing.assert_close(logits_of_inferred(network, critic, inferred, remembered, "fp32"), together)
    assert not torch.allclose(network(inferred["x"]), together, atol=0.1)
