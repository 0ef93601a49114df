"""Motion clips as the pose task's streams: synthetic pairs, real pairs, unlabelled input, measured views."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aign.data.cameras import NUM_RANDOM, photograph, random_cameras
from aign.data.motion import MotionClips, Role
from aign.data.streams import Plan, Sample
from aign.device import to_device
from aign.memories import balanced
from aign.renderers.skeleton_basis import BasisRenderer
from aign.renderers.torso import facing_rotation, root_relative, rotate

NUM_PAIR_CAMERAS = 4
"""Real pairs come from a few fixed cameras, as in a motion capture studio."""
MAX_UNLABELLED_PER_ACTION = 1024
MAX_MEASURED_PER_ACTION = 256
CAMERA_SEEDS: dict[Role, int] = {"pairs": 0, "unlabelled": 1, "validation": 2, "test": 3}
"""Cameras belong to the data, not to a run: every run is measured on the same views."""


@dataclass(frozen=True)
class Bodies:
    """Frames of motion, root-relative: as recorded and with the facing direction taken out, in millimetres."""

    body_mm: Tensor
    canonical_mm: Tensor
    facing: Tensor
    """(frames, 3, 3): canonical from world."""
    actions: Tensor

    @classmethod
    def of(cls, clips: MotionClips, frames: Tensor, device: torch.device) -> "Bodies":
        body = root_relative(clips.joints_mm[frames], clips.skeleton)
        facing = facing_rotation(body, clips.skeleton)
        tensors = (body, rotate(facing, body), facing, clips.frame_actions[frames])
        return cls(*(tensor.to(device) for tensor in tensors))


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A stand-in for a keypoint detector: small noise everywhere, and some joints found anywhere in the image."""

    noise_px: float = 0.0
    """Standard deviation of each coordinate."""
    outlier_share: float = 0.0
    """Part of all joints that are outliers."""

    def plan(self, size: int, num_joints: int, rng: np.random.Generator) -> Plan:
        """Its random numbers for so many views."""
        plan = {"noise": _normal(rng, size, num_joints, 2)}
        return plan | ({"outlier_draws": _uniform(rng, size, num_joints, 3)} if self.outlier_share else {})

    def detect(self, keypoints_px: Tensor, plan: Plan, image_size: int) -> Tensor:
        """What it says of true keypoints (views, joints, 2); the plan is on their device."""
        found = keypoints_px + self.noise_px * plan["noise"]
        if not self.outlier_share:
            return found
        draws = plan["outlier_draws"]
        return torch.where(draws[..., :1] < self.outlier_share, draws[..., 1:] * (image_size - 1), found)


@dataclass(frozen=True, kw_only=True)
class SyntheticPairs:
    """Sup1: a skeleton is perturbed, a rotation and a focal length are drawn, the result is projected (Wu et al.)."""

    weights: Tensor
    renderer: BasisRenderer
    perturbation: float
    """Standard deviation of the perturbation, in standard deviations of each basis weight."""
    detector: Detector

    def plan(self, size: int, rng: np.random.Generator) -> Plan:
        return {
            "index": torch.from_numpy(rng.integers(len(self.weights), size=size)),
            "perturbation": _normal(rng, size, self.weights.shape[1]),
            "camera": _uniform(rng, size, NUM_RANDOM),
            **self.detector.plan(size, len(self.renderer.mean_mm), rng),
        }

    def load(self, plan: Plan) -> Sample:
        plan = to_device(plan, self.weights.device)
        weights = self.weights[plan["index"]] + self.perturbation * plan["perturbation"]
        camera = random_cameras(plan["camera"], self.renderer.image_size)
        shape = self.renderer.shape(weights)
        joints, keypoints = photograph(shape, camera, self.renderer.image_size)
        return {
            "observed": {"keypoints_px": self.detector.detect(keypoints, plan, self.renderer.image_size)},
            "truth": {"joints_mm": joints, "canonical_mm": shape, **camera},
        }


@dataclass(frozen=True, kw_only=True)
class RealPairs:
    """Sup2: recorded skeletons as a few fixed cameras see them, with their 3D joints."""

    bodies: Bodies
    image_size: int
    detector: Detector

    def plan(self, size: int, rng: np.random.Generator) -> Plan:
        cameras = _uniform(np.random.default_rng(CAMERA_SEEDS["pairs"]), NUM_PAIR_CAMERAS, NUM_RANDOM)
        return {
            "index": torch.from_numpy(rng.integers(len(self.bodies.body_mm), size=size)),
            "camera": cameras[torch.from_numpy(rng.integers(NUM_PAIR_CAMERAS, size=size))],
            **self.detector.plan(size, self.bodies.body_mm.shape[1], rng),
        }

    def load(self, plan: Plan) -> Sample:
        plan = to_device(plan, self.bodies.body_mm.device)
        index, camera = plan["index"], random_cameras(plan["camera"], self.image_size)
        joints, keypoints = photograph(self.bodies.body_mm[index], camera, self.image_size)
        camera["rotation"] = camera["rotation"] @ self.bodies.facing[index].mT  # camera from canonical
        return {
            "observed": {"keypoints_px": self.detector.detect(keypoints, plan, self.image_size)},
            "truth": {"joints_mm": joints, "canonical_mm": self.bodies.canonical_mm[index], **camera},
        }


@dataclass(frozen=True)
class Unlabelled:
    """Sup3 and Sup4: keypoints only, every action equally often."""

    keypoints_px: Tensor
    actions: Tensor
    """On the CPU, where indices are drawn."""

    def plan(self, size: int, rng: np.random.Generator) -> Plan:
        share = balanced(self.actions).numpy()
        return {"index": torch.from_numpy(rng.choice(len(share), size=size, p=share / share.sum()))}

    def load(self, plan: Plan) -> Sample:
        plan = to_device(plan, self.keypoints_px.device)
        return {"observed": {"keypoints_px": self.keypoints_px[plan["index"]]}}


@dataclass(frozen=True, kw_only=True)
class Views:
    """Frames of some clips, each as one random camera sees it: the same cameras for every run."""

    keypoints_px: Tensor
    truth: dict[str, Tensor]
    actions: Tensor
    """On the CPU."""

    @classmethod
    def of(
        cls, clips: MotionClips, role: Role, most: int, image_size: int, detector: Detector, device: torch.device
    ) -> "Views":
        """At most so many frames of each action, evenly spread over the clips of a role."""
        frames = clips.frames(role)
        chosen = frames[_evenly_by(clips.frame_actions[frames], most)]
        bodies = Bodies.of(clips, chosen, device)
        rng = np.random.default_rng(CAMERA_SEEDS[role])
        camera = random_cameras(_uniform(rng, len(chosen), NUM_RANDOM).to(device), image_size)
        joints, keypoints = photograph(bodies.canonical_mm, camera, image_size)
        found = to_device(detector.plan(len(chosen), clips.skeleton.num_joints, rng), device)
        return cls(
            keypoints_px=detector.detect(keypoints, found, image_size),
            truth={
                "joints_mm": joints,
                "canonical_mm": bodies.canonical_mm,
                "action": bodies.actions,
                **camera,
            },
            actions=clips.frame_actions[chosen],
        )

    @property
    def unlabelled(self) -> Unlabelled:
        return Unlabelled(self.keypoints_px, self.actions)

    def measured(self, most: int = MAX_MEASURED_PER_ACTION) -> Sample:
        """At most so many of each action, evenly spread, with their truth."""
        part = _evenly_by(self.actions, most).to(self.keypoints_px.device)
        return {
            "observed": {"keypoints_px": self.keypoints_px[part]},
            "truth": {name: values[part] for name, values in self.truth.items()},
        }


def _evenly_by(actions: Tensor, count: int) -> Tensor:
    """Indices of at most ``count`` of each action, evenly spread, action after action."""
    return torch.cat([_evenly((actions == action).nonzero()[:, 0], count) for action in actions.unique()])


def _evenly(indices: Tensor, count: int) -> Tensor:
    """At most ``count`` of the indices, evenly spread."""
    if len(indices) <= count:
        return indices
    return indices[torch.linspace(0, len(indices) - 1, count).round().long()]


def _uniform(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.random(shape, dtype=np.float32))


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
