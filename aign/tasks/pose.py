"""3D human pose from 2D keypoints (paper, sections 2.1 and 3.1; supplement, 2.1).

observed     2D keypoints of one person
inferred     weights of a shape basis, rotation, translation, focal length
rendered     keypoints of R (mean + sum_j w_j B_j) + T under perspective projection
remembered   3D poses of other recordings, under random cameras
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le, Lt, MinLen
from matplotlib.figure import Figure
from torch import Tensor, nn

from aign.data.bodies import generated_bodies
from aign.data.cameras import NUM_RANDOM, random_cameras
from aign.data.cmu import load_cmu
from aign.data.data_root import data_file
from aign.data.h36m import load_h36m
from aign.data.keypoint_files import crop_to_person, read_keypoints, unlikely_people, write_poses
from aign.data.motion import MotionClips, Role
from aign.data.pose_streams import (
    MAX_MEASURED_PER_ACTION,
    MAX_UNLABELLED_PER_ACTION,
    Bodies,
    Detector,
    RealPairs,
    SyntheticPairs,
    Views,
)
from aign.data.streams import Sample, Stream, concatenate, draw, rows
from aign.discriminators.mlp import MLPDiscriminator
from aign.errors import NotTrainable
from aign.evaluation.pose import flat_lift, mean_distance, mpjpe, pa_mpjpe, torso_aligned_error
from aign.evaluation.pose_picture import draw_poses
from aign.evaluation.result import Summary
from aign.generators.pose import HeatmapLifter, ResidualLifter, Rotation
from aign.losses.adaptive import one_spelling, robust_loss
from aign.losses.schedules import Scheduled
from aign.memories import Memory, balanced
from aign.options import Blocks, CheckedOptions, Fraction, ImageSize, Units, Weight
from aign.renderers.skeleton import Skeleton, kinematic_chain
from aign.renderers.skeleton_basis import BasisRenderer
from aign.renderers.torso import root_relative, rotate
from aign.tasks.base import TaskKind
from aign.tasks.parts import (
    Data,
    Discriminator,
    Evaluator,
    Factors,
    Files,
    LoadedData,
    Metadata,
    Model,
    Objective,
    Observed,
    Terms,
    UserInput,
)
from aign.tasks.stages import Preset, Stage

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
        for name, spelling in zip(
            ("alpha", "scale_px"), one_spelling(str(self.alpha), str(self.scale_px)), strict=True
        ):
            object.__setattr__(self, name, spelling)


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


PRESETS = {
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


class PoseData(Data):
    """Clips of motion: pairs, unlabelled keypoints, and remembered poses of other clips."""

    def __init__(self, config: PoseConfig) -> None:
        self.config, self.clips = config, load_clips(config)
        self.detector = Detector(noise_px=config.keypoint_noise_px, outlier_share=config.outlier_share)

    @property
    def metadata(self) -> Metadata:
        clips = self.clips
        return {"data": clips.name, "actions": list(clips.actions), "skeleton": clips.skeleton.to_json()}

    def bodies(self, device: torch.device | str, *roles: Role) -> Bodies:
        """All frames of clips that play these roles."""
        return Bodies.of(self.clips, torch.cat([self.clips.frames(role) for role in roles]), torch.device(device))

    def load(self, model: "PoseModel", device: torch.device) -> LoadedData:
        pairs = self.bodies(device, "pairs")
        unlabelled = self._views("unlabelled", MAX_UNLABELLED_PER_ACTION, device)
        streams: dict[str, Stream] = {
            "synthetic": SyntheticPairs(
                weights=model.renderer.weights(pairs.canonical_mm),
                renderer=model.renderer,
                perturbation=self.config.perturbation,
                detector=self.detector,
            ),
            "pairs": RealPairs(bodies=pairs, image_size=self.config.image_size, detector=self.detector),
            "unlabelled": unlabelled.unlabelled,
        }
        seen, others = unlabelled.measured(), self._measured("test", device)
        for samples, was_seen in ((seen, True), (others, False)):
            action = samples["truth"]["action"]
            samples["truth"]["seen"] = torch.full_like(action, was_seen, dtype=torch.bool)
        return LoadedData(
            source=self,
            streams=streams,
            memories={"poses": self._remembered(model, device)},
            validation=self._measured("validation", device),
            test=concatenate([seen, others]),
        )

    def _views(self, role: Role, most_per_action: int, device: torch.device) -> Views:
        return Views.of(self.clips, role, most_per_action, self.config.image_size, self.detector, device)

    def _measured(self, role: Role, device: torch.device) -> Sample:
        return self._views(role, MAX_MEASURED_PER_ACTION, device).measured()

    def _remembered(self, model: "PoseModel", device: torch.device) -> Memory:
        return Memory(
            {"weights": model.renderer.weights(self.bodies(device, "memories").canonical_mm)},
            bias=f"{self.clips.name}: poses of all actions, each action equally often",
            weights=balanced(self.clips.frame_actions[self.clips.frames("memories")]),
            augment=lambda memory, random: memory | random_cameras(random, self.config.image_size),
            num_random=NUM_RANDOM,
        )


class PoseModel(Model):
    """Keypoints to shape, rotation and camera, and a renderer that projects the shape."""

    renderer: BasisRenderer

    def __init__(self, config: PoseConfig, metadata: Metadata) -> None:
        self.config, self.skeleton = config, Skeleton.from_json(metadata["skeleton"])
        num_joints = self.skeleton.num_joints
        self.renderer = BasisRenderer(config.num_components, num_joints, config.image_size)
        sizes: dict[str, Any] = {
            "num_joints": num_joints,
            "num_components": config.num_components,
            "image_size": config.image_size,
            "rotation": config.rotation,
            "width": config.width,
        }
        if config.generator == "heatmap":
            self.generator: nn.Module = HeatmapLifter(**sizes)
        else:
            self.generator = ResidualLifter(**sizes, num_blocks=config.num_blocks)
        # in the generator, because what it learns is learnt with it
        self.generator.reprojection_loss = robust_loss(config.alpha, config.scale_px)

    def fit(self, data: PoseData) -> None:
        """Principal components of all poses of pairs and memories."""
        self.renderer.fit(data.bodies("cpu", "pairs", "memories").canonical_mm)

    def joints(self, inferred: Factors) -> Tensor:
        """(batch, joints, 3) in the camera frame, mm."""
        return self.renderer.pose(inferred["weights"], inferred["rotation"], inferred["translation_mm"])

    def discriminators(self, memories: Mapping[str, Memory]) -> Mapping[str, Callable[[], Discriminator]]:
        return {name: partial(self._discriminator, name, memories["poses"]) for name in self.config.discriminators}

    def _discriminator(self, name: DiscriminatorName, memory: Memory) -> Discriminator:
        sees = {"joints": self._sees_joints, "canonical": self._sees_canonical, "factors": self._sees_factors}[name]
        typical = sees(draw(name, memory, TYPICAL_MEMORIES, seed=0, step=0)["factors"])
        network = MLPDiscriminator(typical, DISCRIMINATOR_WIDTHS, batch_norm=self.config.discriminator_batch_norm)
        return Discriminator(network=network, sees=sees, memory=memory)

    def _sees_canonical(self, factors: Factors) -> Tensor:
        """Joints facing the camera, in metres, and the kinematic chain."""
        joints = self.renderer.shape(factors["weights"]) / 1000
        return torch.cat([joints.flatten(1), kinematic_chain(joints, *self._bones)], dim=-1)

    def _sees_joints(self, factors: Factors) -> Tensor:
        """Root-relative joints in the camera frame, in metres, and the kinematic chain."""
        joints = rotate(factors["rotation"], self.renderer.shape(factors["weights"])) / 1000
        return torch.cat(
            [root_relative(joints, self.skeleton).flatten(1), kinematic_chain(joints, *self._bones)], dim=-1
        )

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

    def example(self, count: int, random: torch.Generator) -> Observed:
        """Mean poses as random cameras see them."""
        device = self.renderer.mean_mm.device
        cameras = random_cameras(torch.rand(count, NUM_RANDOM, generator=random).to(device), self.config.image_size)
        weights = torch.zeros(count, self.config.num_components, device=device)
        return {"keypoints_px": self.renderer({"weights": weights, **cameras}, {})["keypoints_px"].cpu()}


class PoseObjective(Objective):
    """Pairs (Sup 1 and 2), then reprojection (Sup 3) and memories (Sup 4)."""

    config: PoseConfig
    model: PoseModel

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
        joints, shape = self.model.joints(inferred), self.model.renderer.shape(inferred["weights"])
        depth = truth["translation_mm"][:, 2:]
        return {
            "supervision/joints": mpjpe(joints, truth["joints_mm"], self.model.skeleton).mean() / 1000,
            "supervision/shape": mean_distance(shape, truth["canonical_mm"]).mean() / 1000,
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
        robust: Any = self.model.generator.reprojection_loss
        loss = robust(residual_px.flatten(), done).unflatten(0, residual_px.shape)
        return {"reprojection": loss.sum(-1).mean() / (self.config.image_size / 2)} | robust.changing


class PoseEvaluator(Evaluator):
    """Errors of 3D joints, with those of two predictors that have learnt nothing.

    As in the paper the test is transductive: training saw its input, without labels. Beside it stand the same errors
    of clips that training never saw.
    """

    selection_metric: ClassVar[str] = "torso_aligned_mm"
    config: PoseConfig
    model: PoseModel

    def measure(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        truth, observed = samples["truth"], samples["observed"]
        rendered = self.model.renderer(inferred, observed)["keypoints_px"]
        mean_pose = rotate(truth["rotation"], self.model.renderer.mean_mm.expand_as(truth["canonical_mm"]))
        flat = flat_lift(observed["keypoints_px"], truth["joints_mm"], self.model.skeleton)
        return {
            **self._errors("", self.model.joints(inferred), truth["joints_mm"]),
            "reprojection_px": mean_distance(rendered, observed["keypoints_px"]),
            **self._errors("mean pose/", mean_pose, truth["joints_mm"]),
            **self._errors("flat lift/", flat, truth["joints_mm"]),
            **{name: truth[name] for name in ("action", "seen") if name in truth},
        }

    def _errors(self, prefix: str, joints: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {
            f"{prefix}mpjpe_mm": mpjpe(joints, truth, self.model.skeleton),
            f"{prefix}pa_mpjpe_mm": pa_mpjpe(joints, truth),
            f"{prefix}torso_aligned_mm": torso_aligned_error(joints, truth, self.model.skeleton),
        }

    def summarize(self, measured: dict[str, Tensor]) -> Summary:
        """Means of each action, and their macro mean."""
        action, seen = measured["action"], measured.get("seen")
        errors = {name: values for name, values in measured.items() if name not in ("action", "seen")}

        def summary(part: Any = ...) -> Summary:
            chosen = {name: values[part] for name, values in errors.items()}
            return Summary.of_groups(chosen, action[part], self.metadata["actions"], "actions")

        if seen is None:
            return summary()
        own, others = summary(seen), summary(~seen)
        notes = f"{own.notes}, transductive; inductive: {others.num_samples} samples of clips never seen"
        return replace(own, inductive=others.metrics, notes=notes)

    def picture(self, inferred: Factors, samples: Sample) -> Figure:
        count = min(PICTURED, rows(inferred))
        chosen = (torch.arange(count) + 0.5).mul(rows(inferred) / count).long()  # evenly, so over all actions

        def pick(group: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: values[chosen.to(values.device)] for name, values in group.items()}

        pictured, observed, truth = pick(inferred), pick(samples["observed"]), pick(samples.get("truth", {}))
        return draw_poses(
            observed_px=observed["keypoints_px"],
            rendered_px=self.model.renderer(pictured, observed)["keypoints_px"],
            joints_mm=self.model.joints(pictured),
            truth_mm=truth["joints_mm"] if truth else None,
            remembered_mm=self._recall(count),
            skeleton=self.model.skeleton,
            image_size=self.config.image_size,
            title=f"3D pose from 2D keypoints{':' if truth else ', learnt from'} {self.metadata['data']}",
            labels=[self.metadata["actions"][int(action)].replace("_", " ") for action in truth["action"]]
            if truth
            else (),
        )

    def _recall(self, count: int) -> Tensor | None:
        """Some remembered poses, (count, joints, 3) in mm under random cameras; a restored task has none."""
        if self.loaded is None:
            return None
        memory = self.data.memories["poses"]
        return self.model.joints(draw("picture", memory, count, seed=0, step=0)["factors"])


class PoseFiles(Files):
    """Keypoints of people in, poses out."""

    config: PoseConfig
    model: PoseModel

    def read(self, path: Path) -> UserInput:
        people = read_keypoints(path, self.model.skeleton)
        cropped = crop_to_person(people.keypoints_px, self.config.image_size)
        names = tuple(str(number) for number in people.numbers)
        return UserInput(sample={"observed": {"keypoints_px": cropped}}, names=names, skipped=people.skipped)

    def doubts(self, inferred: Factors, own: UserInput, metrics: Mapping[str, float]) -> list[str]:
        """People whose poses, seen by the camera, are far from their keypoints: joints may be in another order."""
        if "reprojection_px" not in metrics:
            return []
        observed = own.sample["observed"]
        rendered = self.model.renderer(inferred, observed)["keypoints_px"]
        error_px = mean_distance(rendered, observed["keypoints_px"])
        return unlikely_people(error_px, metrics["reprojection_px"], own.names, self.model.skeleton)

    def write(self, inferred: Factors, own: UserInput, folder: Path) -> list[Path]:
        """``poses.json``: a pose a person, in the order of the input, null for those who were skipped."""
        joints = root_relative(self.model.joints(inferred), self.model.skeleton)
        numbers = [int(name) for name in own.names]
        num_people = len(own.names) + len(own.skipped)
        return [write_poses(folder / "poses.json", joints, inferred, self.model.skeleton, numbers, num_people)]


def load_clips(config: PoseConfig) -> MotionClips:
    if config.data == "cmu":
        return load_cmu(data_file("cmu_mocap", "joints_mm.npz"))
    if config.data == "h36m":
        return load_h36m(data_file("h36m", "h36m_plain.npz"))
    return generated_bodies()


POSE = TaskKind(
    name="pose",
    Config=PoseConfig,
    presets=PRESETS,
    data=PoseData,
    model=PoseModel,
    objective=PoseObjective,
    evaluator=PoseEvaluator,
    files=PoseFiles,
)
