"""Clouds: files in the scans' layout that these tests write, generated pairs, and the real scans where they are."""

import math
import os

import pytest
import torch
from scipy.spatial import cKDTree

from aign.data.pointclouds import extent, generated_pair, load_scans, moved, random_motion, read_ply, scan_pair
from aign.errors import UserError

REAL = pytest.mark.skipif("AIGN_DATA" not in os.environ, reason="AIGN_DATA is not set: no real scans to read")
HEAD = """ply
format ascii 1.0
comment made by a test
element vertex {count}
property float x
property float y
property float z
element face 0
property list uchar int vertex_indices
end_header
"""


@pytest.fixture
def write(tmp_path):
    def write(body, head=HEAD, count=2):
        path = tmp_path / "scan.ply"
        path.write_text(head.format(count=count) + body)
        return path

    return write


def test_reads_vertices(write):
    points = read_ply(write("0 1 2 \n-3 4.5 1e-1\n"))
    torch.testing.assert_close(points, torch.tensor([[0, 1, 2], [-3, 4.5, 0.1]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("body", "head", "reason"),
    [
        ("0 1 2\n", HEAD, "holds 1 of 2 vertices"),
        ("0 1 2\n0 1", HEAD, "holds 1 of 2 vertices"),
        ("0 1 2\n0 x 2\n", HEAD, "not a number"),
        ("0 1 2\n0 nan 2\n", HEAD, "vertex 1 is NaN"),
        ("0 1 2\n0 1 inf\n", HEAD, "vertex 1 is NaN or infinite"),
        ("0 1 2\n0 1 2\n", HEAD.replace("ascii", "binary_little_endian"), "not an ASCII PLY file"),
        ("0 1 2\n0 1 2\n", HEAD.replace("float y", "float r"), "vertices x, y, z"),
        ("", "solid bunny\n", "not an ASCII PLY file"),
    ],
)
def test_says_what_is_wrong_with_a_file(write, body, head, reason):
    with pytest.raises(UserError, match=reason):
        read_ply(write(body, head))


def test_says_which_file_is_missing_or_binary(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such file"):
        read_ply(tmp_path / "none.ply")
    (tmp_path / "binary.ply").write_bytes(b"ply\n\xff\xfe")
    with pytest.raises(UserError, match="not an ASCII file"):
        read_ply(tmp_path / "binary.ply")
    monkeypatch.setenv("AIGN_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"bun000\.ply: no such file"):
        scan_pair(0)


def test_motions_are_rigid(rng, assert_proper_rotations):
    poses = torch.stack([random_motion(rng, reach=2.0) for _ in range(20)])
    assert_proper_rotations(poses[:, :3, :3].float())
    torch.testing.assert_close(poses[:, 3], torch.tensor([0.0, 0, 0, 1]).double().expand(20, 4))
    assert poses[:, :3, 3].norm(dim=1).min() > 0


def test_extent_is_the_diameter():
    assert extent(torch.tensor([[1.0, 5, 0], [-3.0, 5, 0]])) == pytest.approx(4)


def test_generated_pairs_are_the_seeds_own():
    a, b, other = (generated_pair(seed, num_points=300) for seed in (3, 3, 4))
    torch.testing.assert_close(a.source, b.source, rtol=0, atol=0)
    torch.testing.assert_close(a.target_from_source, b.target_from_source, rtol=0, atol=0)
    assert (a.source - other.source).abs().max() > 0.1


def test_the_truth_puts_shared_points_onto_the_target():
    pair = generated_pair(0, num_points=2000)
    distance, _ = cKDTree(pair.target.numpy()).query(moved(pair.target_from_source, pair.shared).numpy())
    assert distance.max() < 0.02 * pair.diameter
    assert 0.5 < len(pair.shared) / len(pair.source) < 0.8  # 60 degrees of turn leave two thirds
    assert pair.rmse(pair.target_from_source) == 0


def test_opposite_views_share_little():
    assert len(generated_pair(0, num_points=2000, turn=math.pi).shared) < 0.15 * 2000


def test_an_error_is_measured_in_diameters():
    pair = generated_pair(0, num_points=300)
    off = pair.target_from_source.clone()
    off[0, 3] += 0.1 * pair.diameter
    assert pair.rmse(off) == pytest.approx(0.1)


def test_noise_and_outliers_are_as_said():
    clean, noisy, spoilt = (
        generated_pair(0, num_points=2000, **options) for options in ({}, {"noise": 0.01}, {"outliers": 0.25})
    )
    apart = (noisy.source - clean.source) / clean.diameter
    assert apart.std().item() == pytest.approx(0.01, rel=0.05)
    assert ((spoilt.target - clean.target).norm(dim=1) > 0).double().mean().item() == pytest.approx(0.25)


@REAL
def test_the_real_scans_lie_on_each_other():
    first, second, first_from_second = load_scans()
    assert (len(first), len(second)) == (40256, 40097)
    distance, _ = cKDTree(first.numpy()).query(moved(first_from_second, second[::20]).numpy())
    assert torch.from_numpy(distance).median() < 0.0005  # metres; points are about 0.5 mm apart
    unmoved, _ = cKDTree(first.numpy()).query(second[::20].numpy())
    assert torch.from_numpy(unmoved).median() > 0.02


@REAL
def test_a_scan_has_only_so_many_points():
    with pytest.raises(UserError, match="has only"):
        scan_pair(0, num_points=50_000)
