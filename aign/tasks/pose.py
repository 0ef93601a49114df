"""3D human pose from 2D keypoints (paper, sections 2.1 and 3.1; supplement, 2.1).

observed     2D keypoints of one person
inferred     weights of a shape basis, rotation, translation, focal length
rendered     keypoints of R (mean + sum_j w_j B_j) + T under perspective projection
remembered   3D poses of other recordings, under random cameras
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le, Lt, MinLen
from matplotlib.figure import Figure
from torch import Tensor, nn

from aign.data.bodies import generated_bodies
from aign.data.cameras import NUM_RANDOM, random_cameras
from aign.data.cmu import load_cmu
from aign.data.h36m import load_h36m
from aign.data.keypoint_files import crop_to_person, read_keypoints, unlikely_people, write_poses
from aign.data.motion import MotionClips
from aign.data.places import data_file
from aign.data.pose_streams import Bodies, Detector, RealPairs, SyntheticPairs, test_views
from aign.data.streams import Sample, Share, draw, rows
from aign.discriminators.mlp import MLPDiscriminator
from aign.errors import NotTrainable
from aign.evaluation.pose import flat_lift, mean_distance, mpjpe, pa_mpjpe, torso_aligned_error
from aign.evaluation.pose_picture import draw_poses
from aign.generators.pose import HeatmapLifter, ResidualLifter, Rotation
from aign.losses.adaptive import AdaptiveLoss
from aign.losses.schedules import Schedule, Scheduled, parse_alpha, parse_scale
from aign.memories import Memory, balanced
from aign.options import Blocks, CheckedOptions, Fraction, ImageSize, Units, Weight
from aign.renderers.skeleton import Skeleton
from aign.renderers.skeleton_basis import BasisRenderer
from aign.renderers.torso import root_relative, rotate
from aign.tasks.base import Critic, Evaluation, Factors, Observed, OwnInput, Preset, Stage, Task, Terms

PICTURED = 4
"""Samples in a picture."""
DISCRIMINATOR_WIDTHS = (512, 512, 256, 256)
"""Hidden layers, before the one logit (supplement, 2.1)."""
TYPICAL_MEMORIES = 1024
"""Memories that a discriminator's inputs are standardised by."""

DiscriminatorName = Literal["joints", "canonical", "factors"]


@dataclass(frozen=True, kw_only=True)
class PoseConfig(CheckedOptions):
    """Options of the pose task."""

    data: Literal["generated", "cmu", "h36m"] = "generated"
    """generated: drawn from a kinematic human; cmu, h36m: real motion capture in the folder named by AIGN_DATA."""
    keypoint_noise_px: Annotated[float, Ge(0), Le(1000)] = 0.0
    """Standard deviation of noise on observed keypoints, a stand-in for a detector."""
    outlier_share: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Part of all observed keypoints that lie anywhere in the image, as those of a detector that failed."""
    image_size: ImageSize = 256
    """Width and height of the image that keypoints lie in, px."""
    generator: Literal["residual", "heatmap"] = "residual"
    """residual: multilayer perceptron on keypoints; heatmap: the paper's convolutions on Gaussian heatmaps."""
    width: Units = 512
    """Units of the generator's linear layers."""
    num_blocks: Blocks = 2
    """Residual blocks of the generator `residual`."""
    num_components: Annotated[int, Ge(1), Le(1000)] = 60
    """Components of the shape basis."""
    rotation: Rotation = "6d"
    """How the generator codes its rotation: euler angles as in the paper, or the continuous 6d code."""
    discriminators: Annotated[tuple[DiscriminatorName, ...], MinLen(1)] = ("joints",)
    """What discriminators see: joints in the camera frame, canonical joints, or the factors (w, R, T, f)."""
    discriminator_batch_norm: bool = False
    """Batch norm in the discriminators, as in the paper."""
    perturbation: Annotated[float, Ge(0), Le(100)] = 0.3
    """Sup1: perturbation of skeletons, in standard deviations of each shape weight."""
    supervised_share: Fraction = 0.25
    """Part of the run that learns from pairs only (Sup1 and Sup2); the rest learns from unlabelled input."""
    pairs_weight: Weight = 0.2
    """Weight of the pairs after the supervised stage."""
    reprojection_weight: Weight = 1.0
    """Weight of the reconstruction, Sup3."""
    adversarial_weight: Weight = 0.02
    """Weight of the adversarial losses, Sup4: beta of Eq. 1; 0 switches memories off."""
    alpha: Scheduled = "fixed:1"
    """Shape of the robust reprojection loss: 2 is L2, 1 Charbonnier, 0 Cauchy, -2 Geman-McClure. fixed:1, linear:2:0,
    cosine:2:-2, gnc (the paper's annealing), piecewise:0=2,0.5=1,1=0, steps:0=2,0.5=1, or adaptive:0:2 (learnt)."""
    scale_px: Scheduled = "fixed:2"
    """Where the reprojection loss stops being quadratic, px: fixed:2, linear:8:2, geometric:8:2, or adaptive:2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.discriminators)) < len(self.discriminators):
            raise NotTrainable(f"discriminators = {self.discriminators}", "one is named twice", "name each once")
        if self.generator == "heatmap" and self.num_blocks != PoseConfig.num_blocks:
            raise NotTrainable(f"num_blocks = {self.num_blocks}", "no effect with generator 'heatmap'", "leave it out")
        for name, parse in (("alpha", parse_alpha), ("scale_px", parse_scale)):
            object.__setattr__(self, name, str(parse(str(getattr(self, name)))))  # one spelling for one schedule
        self.reprojection_loss()

    def reprojection_loss(self) -> AdaptiveLoss:
        """The robust loss of reprojection residuals, px. Raises UserError for an alpha that excludes the scale."""
        alpha, scale = parse_alpha(self.alpha), parse_scale(self.scale_px)
        scheduled = isinstance(alpha, Schedule) and isinstance(scale, Schedule)
        return AdaptiveLoss(alpha=alpha, scale=scale, times_scale=scheduled)


SUPERVISION = {
    "supervision/joints": 1.0,
    "supervision/shape": 1.0,
    "supervision/rotation": 0.2,
    "supervision/camera": 0.1,
}
"""Weights of the terms on pairs, Sup1 and Sup2."""

PAPER_TABLE_1 = {"forward2dto3d": 128.9, "3d-interpreter": 88.6, "aign": 79.0}
"""Torso-aligned error in mm on Human3.6M with ground-truth 2D keypoints, average over actions."""

COSINE = {"lr_schedule": "cosine"}
PAPER_NETWORKS = {
    "generator": "heatmap",
    "rotation": "euler",
    "discriminators": ("factors",),
    "discriminator_batch_norm": True,
}


class PoseTask(Task):
    """See the module's docstring."""

    name: ClassVar[str] = "pose"
    Config: ClassVar[type] = PoseConfig
    objective: ClassVar[str] = "torso_aligned_mm"
    memory: Memory | None
    """None where there is no data: after ``restore``."""
    presets: ClassVar[Mapping[str, Preset]] = {
        "aign": Preset(
            summary="pairs, then pairs, reprojection and memories (Sup 1-4)",
            training=COSINE | {"r1": 1.0},
            paper=PAPER_TABLE_1["aign"],
        ),
        "3d-interpreter": Preset(
            summary="pairs, then reprojection alone (Sup 1-3)",
            task={"adversarial_weight": 0.0, "pairs_weight": 0.0},
            training=COSINE,
            paper=PAPER_TABLE_1["3d-interpreter"],
        ),
        "3d-interpreter-pairs": Preset(
            summary="pairs, then pairs and reprojection (Sup 1-3)", task={"adversarial_weight": 0.0}, training=COSINE
        ),
        "forward2dto3d": Preset(
            summary="pairs alone (Sup 1-2)",
            task={"supervised_share": 1.0},
            training=COSINE,
            paper=PAPER_TABLE_1["forward2dto3d"],
        ),
        "aign-paper": Preset(
            summary="as aign, with the paper's networks and update rule, and nothing that came later",
            task=PAPER_NETWORKS,
            training={"update_rule": "paper"},
        ),
    }

    def __init__(self, config: PoseConfig, seed: int, device: torch.device | str = "cpu") -> None:
        clips = _load(config)
        self._build(config, clips.skeleton, seed)
        device = torch.device(device)
        learnt = torch.cat([clips.frames("pairs"), clips.frames("memories")])
        self.renderer.fit(Bodies.of(clips, learnt, torch.device("cpu")).canonical_mm)
        self.renderer.to(device)
        self.generator.to(device)
        pairs = Bodies.of(clips, clips.frames("pairs"), device)
        detector = Detector(noise_px=config.keypoint_noise_px, outlier_share=config.outlier_share)
        unlabelled, self.test = test_views(clips, config.image_size, detector, device)
        self.streams = {
            "synthetic": SyntheticPairs(
                weights=self.renderer.weights(pairs.canonical_mm),
                renderer=self.renderer,
                perturbation=config.perturbation,
                detector=detector,
            ),
            "pairs": RealPairs(bodies=pairs, image_size=config.image_size, detector=detector),
            "unlabelled": unlabelled,
        }
        self.memory = memory = self._remember(clips, device)
        self.critics = {name: self._critic(name, memory, seed) for name in config.discriminators}
        self.clips_name, self.actions = clips.name, clips.actions

    def _build(self, config: PoseConfig, skeleton: Skeleton, seed: int) -> None:
        self.config, self.skeleton = config, skeleton
        self.memory = None
        self.renderer: BasisRenderer = BasisRenderer(config.num_components, skeleton.num_joints, config.image_size)
        sizes: dict[str, Any] = {
            "num_joints": skeleton.num_joints,
            "num_components": config.num_components,
            "image_size": config.image_size,
            "rotation": config.rotation,
            "width": config.width,
        }
        torch.manual_seed(seed)
        if config.generator == "heatmap":
            self.generator: nn.Module = HeatmapLifter(**sizes)
        else:
            self.generator = ResidualLifter(**sizes, num_blocks=config.num_blocks)
        self.generator.reprojection_loss = config.reprojection_loss()  # learnt with the generator, if it is learnt

    @classmethod
    def check_data(cls, config: PoseConfig) -> list[str]:
        _load(config)
        return []

    def facts(self) -> dict[str, Any]:
        return {"data": self.clips_name, "actions": self.actions, "skeleton": vars(self.skeleton)}

    @classmethod
    def restore(cls, config: PoseConfig, facts: dict[str, Any]) -> "PoseTask":
        task = cls.__new__(cls)
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in facts["skeleton"].items()}
        task._build(config, Skeleton(**fields), seed=0)
        task.clips_name, task.actions = facts["data"], tuple(facts["actions"])
        return task

    # --- memories and discriminators -------------------------------------------------------------------------------

    def _remember(self, clips: MotionClips, device: torch.device) -> Memory:
        remembered = Bodies.of(clips, clips.frames("memories"), device)
        return Memory(
            {"weights": self.renderer.weights(remembered.canonical_mm)},
            bias=f"{clips.name}: poses of all actions, each action equally often",
            weights=balanced(clips.frame_actions[clips.frames("memories")]),
            dress=lambda memory, random: memory | random_cameras(random, self.config.image_size),
            num_random=NUM_RANDOM,
        )

    def _critic(self, name: DiscriminatorName, memory: Memory, seed: int) -> Critic:
        sees = {"joints": self._sees_joints, "canonical": self._sees_canonical, "factors": self._sees_factors}[name]
        typical = sees(draw(name, memory, TYPICAL_MEMORIES, seed=0, step=0, share=Share())["factors"])
        torch.manual_seed(seed + 1)
        network = MLPDiscriminator(typical, DISCRIMINATOR_WIDTHS, batch_norm=self.config.discriminator_batch_norm).to(
            typical.device
        )
        return Critic(network=network, sees=sees, memory=memory)

    def _sees_canonical(self, factors: Factors) -> Tensor:
        """Joints facing the camera, in metres, and the kinematic chain."""
        joints = self.renderer.shape(factors["weights"]) / 1000
        return torch.cat([joints.flatten(1), self._kinematic_chain(joints)], dim=-1)

    def _sees_joints(self, factors: Factors) -> Tensor:
        """Root-relative joints in the camera frame, in metres, and the kinematic chain."""
        joints = rotate(factors["rotation"], self.renderer.shape(factors["weights"])) / 1000
        return torch.cat([root_relative(joints, self.skeleton).flatten(1), self._kinematic_chain(joints)], dim=-1)

    def _sees_factors(self, factors: Factors) -> Tensor:
        """Everything the generator says: w, R, T in metres, f in image sizes (supplement, 2.1)."""
        return torch.cat(
            [
                factors["weights"],
                factors["rotation"].flatten(1),
                factors["translation_mm"] / 1000,
                factors["focal_px"][:, None] / self.config.image_size,
            ],
            dim=-1,
        )

    @cached_property
    def _bones(self) -> tuple[Tensor, Tensor]:
        """Parents and children, kept on the device: the host would wait for numbers that it sends with every step."""
        parents, children = torch.tensor(self.skeleton.bones, device=self.renderer.mean_mm.device).unbind(1)
        return parents, children

    def _kinematic_chain(self, joints: Tensor) -> Tensor:
        """Lengths of all bones and the cosines between every two: what a pose is, whichever way it is turned.

        Lengths are in decimetres: they hardly vary among memories, and a centimetre must count.

        The kinematic chain space of Wandt and Rosenhahn (RepNet, CVPR 2019).
        """
        parents, children = self._bones
        bones = joints.index_select(1, children) - joints.index_select(1, parents)
        lengths = bones.square().sum(-1).add(1e-6).sqrt()
        directions = bones / lengths[..., None]
        first, second = torch.triu_indices(len(parents), len(parents), offset=1, device=joints.device)
        return torch.cat([10 * lengths, (directions @ directions.mT)[:, first, second]], dim=-1)

    # --- stages and loss terms -------------------------------------------------------------------------------------

    @classmethod
    def plan(cls, config: PoseConfig) -> list[Stage]:
        supervised = Stage(
            name="supervised", share=config.supervised_share, labelled=("synthetic", "pairs"), weights=SUPERVISION
        )
        weights = {"reprojection": config.reprojection_weight}
        if config.pairs_weight:
            weights |= {name: config.pairs_weight * weight for name, weight in SUPERVISION.items()}
        if config.adversarial_weight:
            weights |= {f"adversarial/{name}": config.adversarial_weight for name in config.discriminators}
        self_supervised = Stage(
            name="self-supervised",
            share=1 - config.supervised_share,
            labelled=supervised.labelled if config.pairs_weight else (),
            unlabelled=("unlabelled",),
            weights=weights,
        )
        return [stage for stage in (supervised, self_supervised) if stage.share > 0]

    def supervision(self, inferred: Factors, truth: Factors) -> Terms:
        """Distances to the paired truth: joints and shape in metres, rotation (Frobenius), camera (relative)."""
        joints = self.joints(inferred)
        depth = truth["translation_mm"][:, 2:]
        return {
            "supervision/joints": mpjpe(joints, truth["joints_mm"], self.skeleton).mean() / 1000,
            "supervision/shape": mean_distance(self.renderer.shape(inferred["weights"]), truth["canonical_mm"]).mean()
            / 1000,
            "supervision/rotation": (inferred["rotation"] - truth["rotation"]).square().sum((1, 2)).mean(),
            "supervision/camera": ((inferred["translation_mm"] - truth["translation_mm"]) / depth)
            .square()
            .sum(-1)
            .mean()
            + (inferred["focal_px"] / truth["focal_px"]).log().square().mean(),
        }

    def reconstruction(self, rendered: Observed, observed: Observed, done: float) -> Terms:
        """Robust reprojection error, in half image sizes; joints behind the camera say nothing."""
        residual_px = (rendered["keypoints_px"] - observed["keypoints_px"]) * rendered["in_front"][..., None]
        robust: Any = self.generator.reprojection_loss
        loss = robust(residual_px.flatten(), done).unflatten(0, residual_px.shape)
        return {"reprojection": loss.sum(-1).mean() / (self.config.image_size / 2)} | robust.changing

    def joints(self, inferred: Factors) -> Tensor:
        """(batch, joints, 3) in the camera frame, mm."""
        return self.renderer.pose(inferred["weights"], inferred["rotation"], inferred["translation_mm"])

    # --- metrics and picture ---------------------------------------------------------------------------------------

    def measure(self, inferred: Factors, test: Sample) -> dict[str, Tensor]:
        truth, observed = test["truth"], test["observed"]
        rendered = self.renderer(inferred)["keypoints_px"]
        mean_pose = rotate(truth["rotation"], self.renderer.mean_mm.expand_as(truth["canonical_mm"]))
        flat = flat_lift(observed["keypoints_px"], truth["joints_mm"], self.skeleton)
        return {
            **self._errors("", self.joints(inferred), truth["joints_mm"]),
            "reprojection_px": mean_distance(rendered, observed["keypoints_px"]),
            **self._errors("mean pose/", mean_pose, truth["joints_mm"]),
            **self._errors("flat lift/", flat, truth["joints_mm"]),
            "action": truth["action"],
        }

    def _errors(self, prefix: str, joints: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {
            f"{prefix}mpjpe_mm": mpjpe(joints, truth, self.skeleton),
            f"{prefix}pa_mpjpe_mm": pa_mpjpe(joints, truth),
            f"{prefix}torso_aligned_mm": torso_aligned_error(joints, truth, self.skeleton),
        }

    def summarize(self, measured: dict[str, Tensor]) -> Evaluation:
        """Means per action, and their macro mean."""
        actions = measured["action"]
        table = torch.stack([values.double() for name, values in measured.items() if name != "action"])
        names = [name for name in measured if name != "action"]
        groups = {
            self.actions[int(a)]: dict(zip(names, table[:, actions == a].mean(1).tolist(), strict=True))
            for a in actions.unique().tolist()
        }
        average = {name: sum(group[name] for group in groups.values()) / len(groups) for name in names}
        learnt = [name for name in names if "/" not in name]
        floors = {
            floor: {name.split("/")[1]: average[name] for name in names if name.startswith(floor + "/")}
            for floor in ("mean pose", "flat lift")
        }
        return Evaluation(
            data=self.clips_name,
            split="test clips, macro mean over actions",
            num_samples=len(actions),
            metrics={name: average[name] for name in learnt},
            floors=floors,
            groups={action: {name: group[name] for name in learnt} for action, group in groups.items()},
        )

    def picture(self, inferred: Factors, test: Sample) -> Figure:
        count = min(PICTURED, rows(inferred))
        chosen = (torch.arange(count) + 0.5).mul(rows(inferred) / count).long()  # evenly, so over all actions

        def pick(group: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: values[chosen.to(values.device)] for name, values in group.items()}

        pictured, observed, truth = pick(inferred), pick(test["observed"]), pick(test.get("truth", {}))
        return draw_poses(
            observed_px=observed["keypoints_px"],
            rendered_px=self.renderer(pictured)["keypoints_px"],
            joints_mm=self.joints(pictured),
            truth_mm=truth["joints_mm"] if truth else None,
            remembered_mm=self._recall(count),
            skeleton=self.skeleton,
            image_size=self.config.image_size,
            title=f"3D pose from 2D keypoints{':' if truth else ', learnt from'} {self.clips_name}",
            labels=[self.actions[int(action)].replace("_", " ") for action in truth["action"]] if truth else (),
        )

    def _recall(self, count: int) -> Tensor | None:
        """Some remembered poses, (count, joints, 3) in mm under random cameras; a restored task has none."""
        if self.memory is None:
            return None
        return self.joints(draw("picture", self.memory, count, seed=0, step=0, share=Share())["factors"])

    # --- a user's own keypoints -------------------------------------------------------------------------------------

    def read(self, path: Path) -> OwnInput:
        people = read_keypoints(path, self.skeleton)
        cropped = crop_to_person(people.keypoints_px, self.config.image_size)
        names = tuple(str(number) for number in people.numbers)
        return OwnInput(sample={"observed": {"keypoints_px": cropped}}, names=names, skipped=people.skipped)

    def doubts(self, inferred: Factors, own: OwnInput, metrics: Mapping[str, float]) -> list[str]:
        """People whose poses, seen by the camera, are far from their keypoints: joints may be in another order."""
        if "reprojection_px" not in metrics:
            return []
        rendered = self.renderer(inferred)["keypoints_px"]
        error_px = mean_distance(rendered, own.sample["observed"]["keypoints_px"])
        return unlikely_people(error_px, metrics["reprojection_px"], own.names, self.skeleton)

    def example(self, count: int, random: torch.Generator) -> Observed:
        """Mean poses as random cameras see them."""
        device = self.renderer.mean_mm.device
        cameras = random_cameras(torch.rand(count, NUM_RANDOM, generator=random).to(device), self.config.image_size)
        weights = torch.zeros(count, self.config.num_components, device=device)
        return {"keypoints_px": self.renderer({"weights": weights, **cameras})["keypoints_px"].cpu()}

    def write(self, inferred: Factors, own: OwnInput, folder: Path) -> list[Path]:
        """``poses.json``: a pose a person, in the order of the input, null for those who were skipped."""
        joints = root_relative(self.joints(inferred), self.skeleton)
        numbers = [int(name) for name in own.names]
        num_people = len(own.names) + len(own.skipped)
        return [write_poses(folder / "poses.json", joints, inferred, self.skeleton, numbers, num_people)]


def _load(config: PoseConfig) -> MotionClips:
    if config.data == "cmu":
        return load_cmu(data_file("cmu_mocap", "joints_mm.npz"))
    if config.data == "h36m":
        return load_h36m(data_file("h36m", "h36m_plain.npz"))
    return generated_bodies()
