"""A generated world of human motion: bodies of different build that walk, run, jump, wave, sit, reach, squat and
direct. It is what pose training and its tests use where no recorded motion is at hand; it is not recorded motion.

A body at rest stands upright and faces +z with +x on its right, in the world frame of ``aign.data.motion``.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from aign.data.body_actions import ACTIONS, Motion, keyframes
from aign.data.h36m import SKELETON
from aign.data.motion import MotionClips, Role, join_clips
from aign.errors import UserError
from aign.renderers.skeleton import axis_rotations, forward_kinematics

FRAMES_PER_SECOND = 30
ANKLE_HEIGHT_MM = 80.0
"""Of an ankle whose foot is on the ground, which is the plane y = 0."""
STANCE_MM = 5.0
"""A foot that is higher than the other by some of these does not stand."""

SUBJECT_ROLES: tuple[Role, ...] = (
    *("pairs", "pairs"),
    *("memories", "memories", "memories"),
    *("unlabelled", "unlabelled", "unlabelled"),
    *("validation", "test", "test"),
)
"""What each subject is for. Pairs are of one action only: supervision that is poor, as in the paper."""
PAIRED_ACTION = "walking"
WALKS_PER_TAKE = 4
"""A paired subject has this many walks for each take of the others, or the pairs would be very few."""


@dataclass(frozen=True, kw_only=True)
class Bone:
    """How a joint is attached to its parent in the body at rest."""

    length_mm: float
    direction: tuple[float, float, float]
    group: str
    """Which factor of the build scales it."""


RIGHT_AND_CENTRE_BONES = {  # of a person 1.75 m tall
    "right_hip": Bone(length_mm=130, direction=(1, 0, 0), group="width"),
    "right_knee": Bone(length_mm=445, direction=(0, 1, 0), group="leg"),
    "right_ankle": Bone(length_mm=450, direction=(0, 1, 0), group="leg"),
    "spine": Bone(length_mm=235, direction=(0, -1, 0), group="trunk"),
    "thorax": Bone(length_mm=255, direction=(0, -1, 0), group="trunk"),
    "neck": Bone(length_mm=120, direction=(0, -0.95, 0.31), group="trunk"),
    "head": Bone(length_mm=115, direction=(0, -0.98, -0.2), group="trunk"),
    "right_shoulder": Bone(length_mm=152, direction=(0.97, 0.24, 0), group="width"),
    "right_elbow": Bone(length_mm=280, direction=(0, 1, 0), group="arm"),
    "right_wrist": Bone(length_mm=250, direction=(0, 1, 0), group="arm"),
}
BUILD_RANGES = {
    "height": (0.88, 1.12),
    "leg": (0.95, 1.05),
    "trunk": (0.95, 1.05),
    "arm": (0.95, 1.06),
    "width": (0.9, 1.12),
}
"""From slightest to strongest; every subject draws one factor of each."""


@dataclass(frozen=True, kw_only=True)
class Freedom:
    """One way in which a joint can turn, and how far."""

    joint: str
    motion: str
    axis: tuple[float, float, float]
    """About which a positive angle turns, in the frame of the parent."""
    low_deg: float
    high_deg: float

    @property
    def name(self) -> str:
        return f"{self.joint}_{self.motion}"


def _both_sides(joint: str, motion: str, right_axis: tuple[int, int, int], low: float, high: float) -> list[Freedom]:
    x, y, z = right_axis  # the mirror image of a turn about y or z is the opposite turn
    return [
        Freedom(joint=f"right_{joint}", motion=motion, axis=(x, y, z), low_deg=low, high_deg=high),
        Freedom(joint=f"left_{joint}", motion=motion, axis=(x, -y, -z), low_deg=low, high_deg=high),
    ]


def _centre(joint: str, motion: str, axis: tuple[int, int, int], low: float, high: float) -> list[Freedom]:
    return [Freedom(joint=joint, motion=motion, axis=axis, low_deg=low, high_deg=high)]


FREEDOMS: tuple[Freedom, ...] = (
    # Of several freedoms of one joint, the first is outermost. Flexion is forward (of knees: backward), bend and twist
    # and turn are to the right, abduction is away from the body, rotation is inward.
    *_centre("pelvis", "heading", (0, 1, 0), -np.inf, np.inf),
    *_centre("pelvis", "turn", (0, 1, 0), -15, 15),
    *_centre("pelvis", "roll", (0, 0, 1), -15, 15),
    *_centre("pelvis", "lean", (-1, 0, 0), -30, 60),
    *_centre("spine", "flexion", (-1, 0, 0), -25, 60),
    *_centre("spine", "bend", (0, 0, 1), -25, 25),
    *_centre("spine", "twist", (0, 1, 0), -30, 30),
    *_centre("thorax", "flexion", (-1, 0, 0), -15, 30),
    *_centre("thorax", "twist", (0, 1, 0), -20, 20),
    *_centre("neck", "turn", (0, 1, 0), -70, 70),
    *_centre("neck", "flexion", (-1, 0, 0), -40, 45),
    *_both_sides("hip", "flexion", (1, 0, 0), -30, 125),
    *_both_sides("hip", "abduction", (0, 0, -1), -20, 45),
    *_both_sides("hip", "rotation", (0, -1, 0), -40, 40),
    *_both_sides("knee", "flexion", (-1, 0, 0), 0, 150),
    *_both_sides("shoulder", "flexion", (1, 0, 0), -60, 175),
    *_both_sides("shoulder", "abduction", (0, 0, -1), -20, 150),
    *_both_sides("shoulder", "rotation", (0, -1, 0), -90, 90),
    *_both_sides("elbow", "flexion", (1, 0, 0), 0, 150),
)
"""The joint limits of the human body, roughly; angles beyond them are clipped."""


def generated_bodies(seed: int = 0, *, takes: int = 3, frames: int = 90) -> MotionClips:
    """Clips of generated motion, a pure function of the arguments.

    ``takes`` clips of every action and subject, but of the subjects of pairs four times as many walking clips and no
    others (no subject plays two roles); ``frames`` frames each, 30 a second. More takes add clips and
    leave the others as they are. Every clip faces its own way, slowly turning; its path is centred on the origin, the
    ground is y = 0, and a foot that stands does not slide.
    Raises ``UserError`` if the seed is negative or there are fewer than one take or two frames.
    """
    for name, value, least in (("seed", seed, 0), ("takes", takes, 1), ("frames", frames, 2)):
        if value < least:
            raise UserError(f"{name} {value}", f"generated bodies need {name} of at least {least}", "give a larger one")
    clips = [clip for subject in range(len(SUBJECT_ROLES)) for clip in _clips_of(subject, takes)]
    seconds = np.arange(frames) / FRAMES_PER_SECOND
    angles_deg, flight_mm = [], []
    for subject, action, take in clips:
        rng = _random(seed, subject, list(ACTIONS).index(action), take)
        motion = ACTIONS[action](seconds, rng)
        angles_deg.append(_angle_table(motion, seconds, rng))
        flight_mm.append(np.broadcast_to(motion.flight_mm, seconds.shape))
    offsets = torch.stack([bone_offsets(_random(seed, subject)) for subject, _, _ in clips])
    joints = pose(torch.from_numpy(np.stack(angles_deg)).float(), offsets[:, None])
    joints = _on_the_ground(joints, torch.from_numpy(np.stack(flight_mm)).float())
    return join_clips(
        name="generated bodies",
        skeleton=SKELETON,
        clips=list(joints),
        names=[f"subject {subject + 1}/{action} {take + 1}" for subject, action, take in clips],
        actions=[action for _, action, _ in clips],
        roles=[SUBJECT_ROLES[subject] for subject, _, _ in clips],
    )


def pose(angles_deg: Tensor, offsets_mm: Tensor) -> Tensor:
    """Joints (..., 17, 3) in mm, pelvis at the origin, of angles (..., freedoms) in degrees, in the order of FREEDOMS.

    ``offsets_mm`` (..., 17, 3) are the bones of the body at rest. Angles beyond the joint limits are clipped.
    """
    limits = torch.tensor([(freedom.low_deg, freedom.high_deg) for freedom in FREEDOMS]).to(angles_deg)
    angles_deg = angles_deg.clamp(limits[:, 0], limits[:, 1])
    axes = torch.tensor([freedom.axis for freedom in FREEDOMS]).to(angles_deg)
    turns = axis_rotations(axes, torch.deg2rad(angles_deg))
    still = torch.eye(3).to(turns).expand(*angles_deg.shape[:-1], 3, 3)
    rotations = dict.fromkeys(SKELETON.joint_names, still)
    for freedom, turn in zip(FREEDOMS, turns.unbind(-3), strict=True):
        known = rotations[freedom.joint]
        rotations[freedom.joint] = turn if known is still else known @ turn
    stacked = torch.stack(list(rotations.values()), -3)
    return forward_kinematics(stacked, offsets_mm, SKELETON.parents)


def bone_offsets(rng: np.random.Generator) -> Tensor:
    """The bones (17, 3) in mm, in the body at rest, of one subject of random build, left and right alike."""
    build = {name: rng.uniform(low, high) for name, (low, high) in BUILD_RANGES.items()}
    offsets = torch.zeros(SKELETON.num_joints, 3)
    for name, bone in RIGHT_AND_CENTRE_BONES.items():
        direction = torch.tensor(bone.direction, dtype=torch.float32)
        offset = direction / direction.norm() * bone.length_mm * build["height"] * build[bone.group]
        offsets[SKELETON.joint_names.index(name)] = offset
        if name.startswith("right_"):
            offsets[SKELETON.joint_names.index(name.replace("right_", "left_"))] = offset * torch.tensor([-1.0, 1, 1])
    return offsets


def _random(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of one subject or one clip, whatever else is drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _clips_of(subject: int, takes: int) -> list[tuple[int, str, int]]:
    """(subject, action, take) of every clip of a subject."""
    if SUBJECT_ROLES[subject] == "pairs":
        return [(subject, PAIRED_ACTION, take) for take in range(WALKS_PER_TAKE * takes)]
    return list(product([subject], ACTIONS, range(takes)))


def _angle_table(motion: Motion, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(frames, freedoms) degrees of one clip, with a heading of its own that turns slowly."""
    table = np.zeros((len(seconds), len(FREEDOMS)))
    columns = {freedom.name: column for column, freedom in enumerate(FREEDOMS)}
    for name, degrees in motion.degrees.items():
        table[:, columns[name]] = degrees
    table[:, columns["pelvis_heading"]] = rng.uniform(0, 360) + keyframes(seconds, rng, -25, 25, every_s=1.5)
    return table


def _on_the_ground(joints: Tensor, flight_mm: Tensor) -> Tensor:
    """Move bodies (clips, frames, 17, 3) about their origin to where their legs carry them.

    The lower foot is the one that stands: it is on the ground, or ``flight_mm`` (clips, frames) above it, and does not
    slide from one frame to the next, so the body moves over it. Feet at one height share in this.
    """
    ankles = joints[:, :, [SKELETON.joint_names.index(f"{side}_ankle") for side in ("left", "right")]]
    stands = torch.softmax(ankles[:, :-1, :, 1] / STANCE_MM, dim=-1)
    steps = -(stands[..., None] * ankles.diff(dim=1)[..., [0, 2]]).sum(-2)
    path = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(1)], 1)
    path = path - path.mean(1, keepdim=True)
    height = -(ankles[..., 1].amax(-1) + ANKLE_HEIGHT_MM + flight_mm)
    root = torch.stack([path[..., 0], height, path[..., 1]], -1)
    return joints + root[:, :, None]
