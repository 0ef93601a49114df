"""Forward kinematics: a case worked by hand, invariants, the gradient."""

import math

import pytest
import torch

from aign.renderers.skeleton import axis_rotations, forward_kinematics

X, Z = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0, 1])
CHAIN = (-1, 0, 1)


def test_axis_rotations_are_right_handed():
    quarter = axis_rotations(Z, torch.tensor(math.pi / 2))
    torch.testing.assert_close(quarter @ X, torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


def test_an_arm_bent_at_root_and_elbow_worked_by_hand():
    # Bones of length 2 and 1 along x. The root stands at (5, 0, 0) and turns by 90 degrees about z, so the first bone
    # points along y; the elbow turns by 90 more, so the second points along -x.
    offsets = torch.tensor([[5.0, 0, 0], [2, 0, 0], [1, 0, 0]])
    rotations = axis_rotations(Z, torch.tensor([math.pi / 2, math.pi / 2, 0.3]))
    expected = torch.tensor([[5.0, 0, 0], [5, 2, 0], [4, 2, 0]])
    torch.testing.assert_close(forward_kinematics(rotations, offsets, CHAIN), expected, atol=1e-6, rtol=0)


def test_rotations_apply_from_the_root_outwards():
    # About z at the root, then about x at the elbow, in the already turned frame: a bone along y ends along z. In the
    # other order it would end along -x.
    offsets = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    quarter = torch.tensor(math.pi / 2)
    rotations = torch.stack([axis_rotations(Z, quarter), axis_rotations(X, quarter), torch.eye(3)])
    expected = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 1, 1]])
    torch.testing.assert_close(forward_kinematics(rotations, offsets, CHAIN), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("offsets_shape", [(3, 3), (4, 1, 3, 3)])
def test_offsets_broadcast_over_a_batch_and_keep_their_lengths(offsets_shape):
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(torch.randn(4, 5, 3, 3, generator=generator), dim=-1)
    rotations = axis_rotations(axes, torch.randn(4, 5, 3, generator=generator))
    offsets = torch.randn(offsets_shape, generator=generator)
    joints = forward_kinematics(rotations, offsets, CHAIN)
    assert joints.shape == (4, 5, 3, 3)
    lengths = joints.diff(dim=-2).norm(dim=-1)
    torch.testing.assert_close(lengths, offsets[..., 1:, :].norm(dim=-1).expand_as(lengths))


def test_gradient_in_angles_and_offsets_also_at_rest():
    offsets = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    axes = torch.stack([X, Z, X]).double()

    def joints(angles, offsets):
        return forward_kinematics(axis_rotations(axes, angles), offsets, CHAIN)

    for angles in (torch.zeros(2, 3), torch.tensor([[0.4, -1.2, 2.0]])):
        assert torch.autograd.gradcheck(joints, (angles.double().requires_grad_(), offsets))
