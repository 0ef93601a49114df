"""Errors of 3D human pose, one number a sample, in millimetres or pixels."""

import torch
from jaxtyping import Float
from torch import Tensor

from aign.renderers.skeleton import Skeleton
from aign.renderers.torso import root_relative, rotate, torso_rotation

Joints = Float[Tensor, "batch joints 3"]


def mpjpe(inferred: Joints, truth: Joints, skeleton: Skeleton) -> Float[Tensor, " batch"]:
    """Mean per-joint position error: root-relative, camera frame."""
    return mean_distance(root_relative(inferred, skeleton), root_relative(truth, skeleton))


def torso_aligned_error(inferred: Joints, truth: Joints, skeleton: Skeleton) -> Float[Tensor, " batch"]:
    """The paper's reconstruction error (section 3.1): per-joint error after both torsos face the front."""

    def frontal(joints: Joints) -> Joints:
        return rotate(torso_rotation(joints, skeleton), root_relative(joints, skeleton))

    return mean_distance(frontal(inferred), frontal(truth))


def pa_mpjpe(inferred: Joints, truth: Joints) -> Float[Tensor, " batch"]:
    """Mean per-joint error after the best similarity transform (Procrustes) of the inferred joints."""
    centred_inferred = inferred - inferred.mean(1, keepdim=True)
    centred_truth = truth - truth.mean(1, keepdim=True)
    u, s, vt = torch.linalg.svd(centred_inferred.mT @ centred_truth)
    flip = torch.ones_like(s)
    flip[:, -1] = torch.linalg.det(u @ vt).sign()  # a proper rotation, never a mirror image
    rotation = u @ (flip[:, :, None] * vt)
    scale = (s * flip).sum(-1) / centred_inferred.square().sum((1, 2)).clamp(min=1e-12)
    return mean_distance(scale[:, None, None] * centred_inferred @ rotation, centred_truth)


def mean_distance(a: Float[Tensor, "batch joints d"], b: Float[Tensor, "batch joints d"]) -> Float[Tensor, " batch"]:
    """Euclidean distance, mean over joints."""
    return (a - b).norm(dim=-1).mean(-1)


def flat_lift(keypoints_px: Float[Tensor, "batch joints 2"], truth: Joints, skeleton: Skeleton) -> Joints:
    """A baseline that learns nothing: keypoints as a flat figure at the root's depth, at the scale that fits best."""
    flat = keypoints_px - keypoints_px[:, skeleton.root, None]
    target = root_relative(truth, skeleton)[..., :2]
    scale = (flat * target).sum((1, 2)) / flat.square().sum((1, 2)).clamp(min=1e-12)
    return torch.cat([scale[:, None, None] * flat, torch.zeros_like(flat[..., :1])], dim=-1)
