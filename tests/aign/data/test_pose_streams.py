"""The pose task's streams: what they hold agrees with itself, and workers share it."""

import numpy as np
import pytest
import torch

from aign.data import pose_streams
from aign.data.cameras import photograph
from aign.data.pose_streams import Bodies, Detector, RealPairs, SyntheticPairs, Views
from aign.data.streams import WorkerSlice, draw
from aign.renderers.skeleton_basis import BasisRenderer
from aign.renderers.torso import facing_rotation, rotate

CPU = torch.device("cpu")
IMAGE_SIZE = 64
NOISY = Detector(noise_px=0.5)


@pytest.fixture
def bodies(clips):
    return Bodies.of(clips, clips.frames("pairs"), CPU)


@pytest.fixture
def renderer(bodies, skeleton):
    renderer = BasisRenderer(21, skeleton.num_joints, IMAGE_SIZE)
    renderer.fit(bodies.canonical_mm)
    return renderer


@pytest.fixture
def streams(clips, bodies, renderer):
    return {
        "synthetic": SyntheticPairs(
            weights=renderer.weights(bodies.canonical_mm), renderer=renderer, perturbation=0.3, detector=NOISY
        ),
        "pairs": RealPairs(bodies=bodies, image_size=IMAGE_SIZE, detector=NOISY),
        "unlabelled": Views.of(clips, "unlabelled", 1024, IMAGE_SIZE, NOISY, CPU).unlabelled,
    }


def flat(sample):
    return {f"{group}/{name}": tensor for group, tensors in sample.items() for name, tensor in tensors.items()}


EVERY_STREAM = pytest.mark.parametrize("name", ["synthetic", "pairs", "unlabelled"])


@EVERY_STREAM
def test_workers_slices_together_are_the_batch_of_one_worker(name, streams, shares):
    def of(share):
        return flat(draw(name, streams[name], 8, seed=1, step=4, worker=share))

    parts = [of(share) for share in shares]
    for key, whole in of(WorkerSlice()).items():
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), whole)


@EVERY_STREAM
def test_steps_differ(name, streams):
    first, second = (draw(name, streams[name], 8, seed=0, step=step)["observed"]["keypoints_px"] for step in (0, 1))
    assert not torch.equal(first, second)


def test_unlabelled_samples_carry_no_truth(streams):
    assert set(flat(draw("u", streams["unlabelled"], 4, seed=0, step=0))) == {"observed/keypoints_px"}


@pytest.mark.parametrize("name", ["synthetic", "pairs"])
def test_the_truth_of_a_pair_explains_its_keypoints(name, streams):
    sample = draw(name, streams[name], 64, seed=0, step=0)
    truth = sample["truth"]
    joints, keypoints = photograph(truth["canonical_mm"], truth, IMAGE_SIZE)
    torch.testing.assert_close(joints, truth["joints_mm"], atol=0.05, rtol=1e-4)
    residual = sample["observed"]["keypoints_px"] - keypoints
    assert 0.4 < residual.std() < 0.6  # the noise that was asked for


def test_outliers_lie_anywhere_and_are_as_many_as_asked_for():
    detector, rng = Detector(noise_px=0.5, outlier_share=0.2), np.random.default_rng(0)
    true = torch.full((2000, 17, 2), -100.0)
    found = detector.detect(true, detector.plan(2000, 17, rng), IMAGE_SIZE)
    outliers = (found >= 0).all(-1)
    assert 0.19 < outliers.float().mean() < 0.21
    assert torch.allclose(found[~outliers].std(0), torch.tensor(0.5), rtol=0.02)
    places = found[outliers]
    assert 0 <= places.min() < 1
    assert IMAGE_SIZE - 2 < places.max() <= IMAGE_SIZE - 1
    assert torch.allclose(places.mean(0), torch.tensor((IMAGE_SIZE - 1) / 2), rtol=0.02)


def test_canonical_bodies_face_the_camera(bodies, skeleton):
    facing = facing_rotation(bodies.canonical_mm, skeleton)
    torch.testing.assert_close(facing, torch.eye(3).expand_as(facing), atol=1e-4, rtol=0)
    torch.testing.assert_close(rotate(bodies.facing.mT, bodies.canonical_mm), bodies.body_mm, atol=0.01, rtol=0)


def test_real_pairs_come_from_a_few_cameras_that_no_seed_changes(streams):
    focals = [draw("p", streams["pairs"], 64, seed=seed, step=0)["truth"]["focal_px"].unique() for seed in (0, 1)]
    assert len(focals[0]) == pose_streams.NUM_PAIR_CAMERAS
    assert torch.equal(*focals)


def test_views_are_measured_with_their_truth_each_action_equally_often(clips):
    views = Views.of(clips, "unlabelled", 10, IMAGE_SIZE, Detector(), CPU)
    measured = views.measured(5)
    assert views.actions.bincount().tolist() == [10, 10]
    assert measured["truth"]["action"].bincount().tolist() == [5, 5]
    _, keypoints = photograph(measured["truth"]["canonical_mm"], measured["truth"], IMAGE_SIZE)
    torch.testing.assert_close(keypoints, measured["observed"]["keypoints_px"], atol=1e-3, rtol=0)
    unlabelled = {tuple(k.tolist()) for k in views.unlabelled.keypoints_px.flatten(1)}
    assert {tuple(k.tolist()) for k in measured["observed"]["keypoints_px"].flatten(1)} <= unlabelled
