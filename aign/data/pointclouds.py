"""Point clouds to register, with the true motion between them: real range scans, and generated clouds.

Scans: ``$AIGN_DATA/pointclouds/bun000.ply`` and ``bun045.ply``, two views of the Stanford bunny (Stanford 3D Scanning
Repository: for research with credit, never shipped), metres. Every pair draws its own points from them, moves one of
them anywhere and adds noise; what is true between the scans is the pose that Stanford published with them.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from aign.data.data_root import data_file
from aign.errors import UserError

SCANS = ("bun000.ply", "bun045.ply")
BUN045_POSE = (-0.0520211, -0.000383981, -0.0109223, 0.00548449, -0.294635, -0.0038555, 0.955586)
"""Where Stanford's bun.conf puts the second scan: translation in metres, then the quaternion x, y, z, w. Its rotation
is the inverse of the usual one, which the scans themselves show: this way they lie 0.3 mm apart, otherwise 30."""
_HEADER = re.compile(
    r"ply\nformat ascii 1\.0\nelement vertex (\d+)\nproperty \w+ x\nproperty \w+ y\nproperty \w+ z(\n|$)"
)
OVERLAP = 0.02
"""A point has a counterpart if the other cloud comes as near as this share of the diameter."""


@dataclass(frozen=True)
class CloudPair:
    """Two clouds of one thing, in the same unit, and the motion from one to the other."""

    name: str
    source: Float[Tensor, "points 3"]
    target: Float[Tensor, "others 3"]
    target_from_source: Float[Tensor, "4 4"]
    """The truth."""
    shared: Float[Tensor, "some 3"]
    """Points of the source, before noise, that the target shows too: where a registration is measured."""
    diameter: float
    """Of the whole thing, in the clouds' unit; noise and errors are given as shares of it."""

    def rmse(self, target_from_source: Float[Tensor, "4 4"]) -> float:
        """Root mean squared distance between where the shared points are put and where they belong, in diameters."""
        apart = moved(target_from_source, self.shared) - moved(self.target_from_source, self.shared)
        return apart.square().sum(-1).mean().sqrt().item() / self.diameter


def moved(pose: Float[Tensor, "4 4"], points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Points after a rigid motion."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def random_motion(rng: torch.Generator, reach: float) -> Float[Tensor, "4 4"]:
    """Any rotation, each as likely as any other, and a translation of about ``reach``."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = _rotation(torch.randn(4, generator=rng, dtype=torch.float64))
    pose[:3, 3] = reach * torch.randn(3, generator=rng, dtype=torch.float64)
    return pose


# --- real scans ------------------------------------------------------------------------------------------------------


def load_scans() -> tuple[Float[Tensor, "points 3"], Float[Tensor, "others 3"], Float[Tensor, "4 4"]]:
    """The two scans whole, in metres, and first_from_second. Raises UserError for what is missing or not a scan."""
    first, second = (read_ply(data_file("pointclouds", name)) for name in SCANS)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = _rotation(torch.tensor(BUN045_POSE[3:], dtype=torch.float64)).T
    pose[:3, 3] = torch.tensor(BUN045_POSE[:3], dtype=torch.float64)
    return first, second, pose


def scan_pair(seed: int, *, num_points: int = 3000, noise: float = 0.0, outliers: float = 0.0) -> CloudPair:
    """The second scan, moved anywhere, to be registered to the first; noise and outliers as in :func:`generated_pair`.

    Each cloud is ``num_points`` points of its scan, drawn without regard to the other's. Raises UserError for missing
    or broken scans.
    """
    first, second, first_from_second = load_scans()
    rng = torch.Generator().manual_seed(seed)
    target, source = (_drawn(points, num_points, rng) for points in (first, second))
    diameter = extent(target)
    return _pair(f"scans {seed}", source, target, first_from_second, diameter, noise, outliers, rng)


def read_ply(path: Path) -> Float[Tensor, "points 3"]:
    """Vertices of an ASCII PLY file whose first element is ``vertex`` with x, y and z first.

    Raises UserError for a missing, binary, truncated or other file, and for vertices that are not numbers.
    """
    remedy = "copy it again, or save it as ASCII PLY with vertices x, y, z first"
    try:
        head, _, body = path.read_text("ascii").partition("end_header\n")
    except FileNotFoundError:
        raise UserError(path, "no such file", "give the path of an ASCII PLY file") from None
    except UnicodeDecodeError:
        raise UserError(path, "not an ASCII file", remedy) from None
    lines = [line for line in head.splitlines() if line.split()[:1] not in (["comment"], ["obj_info"])]
    declared = _HEADER.match("\n".join(lines))
    if not declared:
        raise UserError(path, "not an ASCII PLY file that begins with vertices x, y, z", remedy)
    return _vertices(path, body, int(declared[1]))


def _vertices(path: Path, body: str, count: int) -> Tensor:
    rows = body.split("\n", count)[:count]
    try:
        values = [[float(value) for value in row.split()[:3]] for row in rows]
    except ValueError as error:
        raise UserError(path, f"a vertex is not a number ({error})", "copy it again") from None
    whole = next((i for i, value in enumerate(values) if len(value) < 3), len(values))
    if whole < count or not count:
        raise UserError(path, f"holds {whole} of {count} vertices", "copy it again, it is truncated")
    points = torch.tensor(values, dtype=torch.float64)
    bad = (~points.isfinite()).any(1).nonzero()[:, 0]
    if len(bad):
        raise UserError(path, f"vertex {int(bad[0])} is NaN or infinite", "drop or repair such vertices")
    return points


# --- generated clouds ------------------------------------------------------------------------------------------------


def generated_pair(
    seed: int, *, num_points: int = 3000, noise: float = 0.0, outliers: float = 0.0, turn: float = math.radians(60)
) -> CloudPair:
    """Two views of a made-up thing, a sphere with 40 random bumps and dents; it is 2 to 3 wide, without a unit.

    A view shows the surface that lies less than 90 degrees (seen from its middle) off its direction, in
    ``num_points`` points of its own; the two directions are ``turn`` radians apart, so at 60 degrees they share two
    thirds. noise is the standard deviation of the Gaussian noise in every coordinate of both clouds, in diameters.
    ``outliers`` is the share of each cloud's points that are replaced by points anywhere in its bounding box.
    """
    rng = torch.Generator().manual_seed(seed)
    surface = _Bumps(rng)
    axis, other = _directions(2, rng)
    side = torch.nn.functional.normalize(other - axis * (other @ axis), dim=0)
    views = axis, math.cos(turn) * axis + math.sin(turn) * side
    target, source = (surface.seen_from(view, num_points, rng) for view in views)
    diameter = extent(surface.points(_directions(4000, rng)))
    still = torch.eye(4, dtype=torch.float64)
    return _pair(f"generated {seed}", source, target, still, diameter, noise, outliers, rng)


class _Bumps:
    """A star-shaped surface: how far it is from the middle in each direction."""

    def __init__(self, rng: torch.Generator) -> None:
        count = 40
        self.centres = _directions(count, rng)
        self.height = 0.15 * torch.randn(count, generator=rng, dtype=torch.float64)
        self.sharpness = 10 + 40 * torch.rand(count, generator=rng, dtype=torch.float64)

    def points(self, directions: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        bumps = self.height * (self.sharpness * (directions @ self.centres.T - 1)).exp()
        return directions * (1 + bumps.sum(1)).clamp(min=0.3)[:, None]

    def seen_from(self, view: Float[Tensor, "3"], num_points: int, rng: torch.Generator) -> Float[Tensor, "points 3"]:
        directions = _directions(num_points, rng)
        across = directions @ view
        return self.points(directions - (across - across.abs())[:, None] * view)  # the far half, mirrored to the near


def _directions(count: int, rng: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=rng, dtype=torch.float64), dim=1)


# --- both ------------------------------------------------------------------------------------------------------------


def extent(points: Float[Tensor, "points 3"]) -> float:
    """The diameter of a cloud: twice the distance of the point farthest from the mean."""
    return 2 * (points - points.mean(0)).norm(dim=1).max().item()


def _pair(
    name: str,
    source: Tensor,
    target: Tensor,
    pose: Tensor,
    diameter: float,
    noise: float,
    outliers: float,
    rng: torch.Generator,
) -> CloudPair:
    """A source that lies on the target by ``pose``, moved anywhere, with noise in both and outliers."""
    from_moved = random_motion(rng, reach=diameter)
    near = torch.cdist(moved(pose, source), target).amin(1) < OVERLAP * diameter
    inverse = torch.linalg.inv(from_moved)
    source = moved(inverse, source)
    shown, target = (_spoilt(points, noise * diameter, outliers, rng) for points in (source, target))
    return CloudPair(name, shown, target, pose @ from_moved, source[near], diameter)


def _spoilt(points: Tensor, noise: float, outliers: float, rng: torch.Generator) -> Tensor:
    spoilt = points + noise * torch.randn(points.shape, generator=rng, dtype=points.dtype)
    count = round(outliers * len(points))
    low, high = points.amin(0), points.amax(0)
    spoilt[:count] = low + (high - low) * torch.rand(count, 3, generator=rng, dtype=points.dtype)
    return spoilt


def _drawn(points: Tensor, count: int, rng: torch.Generator) -> Tensor:
    if len(points) < count:
        raise UserError(f"--num-points {count}", f"a scan has only {len(points)}", "ask for fewer")
    return points[torch.randperm(len(points), generator=rng)[:count]]


def _rotation(quaternion: Float[Tensor, "4"]) -> Float[Tensor, "3 3"]:
    """Of a quaternion x, y, z, w of any length."""
    x, y, z, w = (quaternion / quaternion.norm()).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
