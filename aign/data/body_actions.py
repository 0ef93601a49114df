"""What generated bodies do: joint angles over time, drawn at random for every clip.

An action is a function of the seconds of a clip and a random generator. It names angles as ``aign.data.bodies`` does
(``left_knee_flexion``), in degrees; an angle it does not name stays at zero, the upright body with hanging arms.
Legs hang on the pelvis: a pelvis that leans forward takes them along, so the hips add the lean to stay where they are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Angles = dict[str, np.ndarray | float]
SIDES = ("left", "right")
GRAVITY_MM = 9810.0


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One clip of one action."""

    degrees: Angles
    flight_mm: np.ndarray | float = 0.0
    """How high the lower foot is above the ground, per frame."""


def walking(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """Strides with two knee bends, arms against the legs."""
    return Motion(degrees=_torso(seconds, rng) | _stride(seconds, rng))


def running(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """Longer, faster strides with bent elbows, both feet off the ground between them."""
    cycle = rng.uniform(1.2, 1.5) * seconds + rng.random()
    vigour, lean, elbow = rng.uniform(0.8, 1.15), rng.uniform(6, 16), rng.uniform(75, 105)
    degrees = _torso(seconds, rng) | {"pelvis_lean": lean, "thorax_twist": -8 * _wave(cycle)}
    for side, own in zip(SIDES, (cycle, cycle + 0.5), strict=True):
        degrees |= {
            f"{side}_hip_flexion": lean + 12 + 38 * vigour * _wave(own),
            f"{side}_knee_flexion": 14 + 20 * _bump(own, 0.15, 3) + 80 * vigour * _bump(own, 0.68, 1.6),
            f"{side}_shoulder_flexion": 5 - 42 * vigour * _wave(own),
            f"{side}_shoulder_abduction": rng.uniform(5, 18),
            f"{side}_shoulder_rotation": 20.0,
            f"{side}_elbow_flexion": elbow - 18 * _wave(own),
        }
    return Motion(degrees=degrees, flight_mm=rng.uniform(30, 80) * _bump(2 * cycle, 0.86, 3))


def jumping(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """Crouch, fly with tucked or spread limbs, land, again; the flight is as long as its height takes."""
    height_mm, period_s = rng.uniform(80, 350), rng.uniform(1.2, 1.8)
    flight_s = np.sqrt(8 * height_mm / GRAVITY_MM)
    flight = flight_s / period_s
    cycle = (seconds / period_s + rng.random()) % 1
    rise = np.clip((cycle - 0.5) / flight + 0.5, 0, 1)
    air = 4 * rise * (1 - rise)
    load = _bump(cycle, 0.5 - flight / 2 - 0.12, 7)
    crouch = rng.uniform(0.6, 1.1) * (load + 0.7 * _bump(cycle, 0.5 + flight / 2 + 0.07, 9))
    # Limbs move as far as the flight leaves them time for.
    tuck, spread = flight_s * rng.uniform(0, 120), flight_s * rng.choice([0, rng.uniform(20, 60)])
    swing, swings = (rng.uniform(70, 160), _bump(cycle, 0.5, 2.5)) if not spread else (20.0, air)
    degrees = _torso(seconds, rng) | {"pelvis_lean": 28 * crouch, "spine_flexion": 12 * crouch}
    for side in SIDES:
        degrees |= {
            f"{side}_hip_flexion": 3 + 86 * crouch + tuck * _ease(air),
            f"{side}_hip_abduction": 5 + spread * _ease(air),
            f"{side}_knee_flexion": 6 + 92 * crouch + 1.4 * tuck * _ease(air),
            f"{side}_shoulder_flexion": swing * swings - 45 * load,
            f"{side}_shoulder_abduction": 10 + 3.5 * spread * _bump(cycle, 0.5, 2.5),
            f"{side}_elbow_flexion": 15 + 25 * crouch,
        }
    return Motion(degrees=degrees, flight_mm=height_mm * air)


def waving(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """One raised forearm, sometimes both, swings from side to side."""
    degrees = _stand_or_walk(seconds, rng)
    sides = [SIDES, SIDES[:1], SIDES[1:]][rng.integers(3)]
    for side in sides:
        swing = _wave(rng.uniform(0.8, 2.0) * seconds + rng.random())
        raised = keyframes(seconds, rng, 0.75, 1.0, every_s=1.0)
        degrees |= {
            f"{side}_shoulder_flexion": rng.uniform(0, 35),
            f"{side}_shoulder_abduction": rng.uniform(65, 145) * raised,
            f"{side}_shoulder_rotation": -75 + 12 * swing,
            f"{side}_elbow_flexion": rng.uniform(45, 85) + rng.uniform(20, 40) * swing,
        }
    return Motion(degrees=degrees)


def sitting(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """On a chair, hands in the lap or busy; some clips begin with sitting down or end with getting up."""
    change = rng.choice([0.0, -1.0, 1.0])  # none, getting up, sitting down
    seated = _ease(0.5 + change * (seconds - rng.uniform(1.0, 2.0)) / 1.2) if change else np.ones_like(seconds)
    lean = keyframes(seconds, rng, -8, 15, every_s=1.5) * seated + 110 * seated * (1 - seated)
    degrees = _torso(seconds, rng) | {"pelvis_lean": lean}
    thigh, apart = rng.uniform(80, 98), rng.uniform(3, 25)
    for side in SIDES:
        knee = keyframes(seconds, rng, 65, 110, every_s=1.5) + rng.choice([0, -35], p=[0.7, 0.3])
        degrees |= _resting_arm(side, seconds, rng, (*ARM_POSES, "lap", "lap")) | {
            f"{side}_hip_flexion": lean + thigh * seated,
            f"{side}_hip_abduction": 4 + apart * seated,
            f"{side}_knee_flexion": 4 + knee * seated,
        }
    return Motion(degrees=degrees)


def reaching(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """One hand goes to places high and low; for the low ones back and knees bend."""
    degrees = _standing(seconds, rng)
    active = SIDES[rng.integers(2)]
    high = keyframes(seconds, rng, 0, 1, every_s=rng.uniform(0.7, 1.2))
    across = keyframes(seconds, rng, -1, 1, every_s=rng.uniform(0.7, 1.2))
    low = np.clip(0.6 - high, 0, 1) / 0.6
    lean = 35 * low
    knees = rng.uniform(15, 95)
    for side in SIDES:
        stance = float(np.mean(degrees[f"{side}_hip_flexion"]))
        degrees[f"{side}_hip_flexion"] = stance + lean + 0.55 * knees * low
        degrees[f"{side}_knee_flexion"] = 6 + knees * low
    outward = across if active == "right" else -across
    degrees |= {
        "pelvis_lean": lean,
        "spine_flexion": 30 * low,
        "spine_twist": 22 * across,
        f"{active}_shoulder_flexion": 35 + 130 * high,
        f"{active}_shoulder_abduction": 18 + 32 * outward,
        f"{active}_shoulder_rotation": 15.0,
        f"{active}_elbow_flexion": keyframes(seconds, rng, 2, 60, every_s=0.8),
    }
    return Motion(degrees=degrees)


def squatting(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """Knee bends with the arms stretched forward, or held at the chest, for balance."""
    wave = 0.5 - 0.5 * _wave(rng.uniform(0.3, 0.6) * seconds + rng.random())
    depth = rng.uniform(0.65, 1.05) * wave
    lean, apart = 26 * depth, rng.uniform(4, 18)
    arms, elbow = rng.uniform(40, 100), rng.choice([10.0, 110.0], p=[0.65, 0.35])
    degrees = _torso(seconds, rng) | {"pelvis_lean": lean, "spine_flexion": 14 * depth, "neck_flexion": -20 * depth}
    for side in SIDES:
        degrees |= {
            f"{side}_hip_flexion": 2 + 88 * depth + lean,
            f"{side}_hip_abduction": apart,
            f"{side}_hip_rotation": -apart * depth,
            f"{side}_knee_flexion": 5 + 116 * depth,
            f"{side}_shoulder_flexion": arms * (0.15 + 0.85 * wave),
            f"{side}_shoulder_abduction": rng.uniform(4, 20),
            f"{side}_shoulder_rotation": 0.4 * elbow,
            f"{side}_elbow_flexion": 8 + elbow * wave,
        }
    return Motion(degrees=degrees)


def directing(seconds: np.ndarray, rng: np.random.Generator) -> Motion:
    """Both arms point and beckon, each for itself."""
    degrees = _stand_or_walk(seconds, rng)
    for side in SIDES:
        every_s = rng.uniform(0.5, 1.0)
        degrees |= {
            f"{side}_shoulder_flexion": keyframes(seconds, rng, -10, 130, every_s=every_s),
            f"{side}_shoulder_abduction": keyframes(seconds, rng, 0, 90, every_s=every_s),
            f"{side}_shoulder_rotation": keyframes(seconds, rng, -30, 50, every_s=every_s),
            f"{side}_elbow_flexion": keyframes(seconds, rng, 3, 120, every_s=every_s),
        }
    return Motion(degrees=degrees)


ACTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], Motion]] = {
    action.__name__: action for action in (walking, running, jumping, waving, sitting, reaching, squatting, directing)
}

ARM_POSES = {  # shoulder flexion, abduction, rotation (inward), elbow flexion; degrees
    "hanging": (2, 9, 10, 16),
    "on the hip": (-12, 46, 72, 92),
    "at the chest": (38, 12, 55, 112),
    "at the ear": (48, 42, 10, 138),
    "lap": (18, 8, 28, 68),
}


def keyframes(seconds: np.ndarray, rng: np.random.Generator, low: float, high: float, *, every_s: float) -> np.ndarray:
    """Random values between ``low`` and ``high`` every so many seconds, with rest at each and smooth ways between."""
    knots = seconds / every_s
    values = rng.uniform(low, high, int(knots[-1]) + 2)
    left = knots.astype(int)
    return values[left] + (values[left + 1] - values[left]) * _ease(knots - left)


def _stride(seconds: np.ndarray, rng: np.random.Generator) -> Angles:
    cycle = rng.uniform(0.65, 1.05) * seconds + rng.random()  # a foot strikes the ground at cycle 0
    vigour, arms, lean = rng.uniform(0.75, 1.15), rng.uniform(0.4, 1.6), rng.uniform(0, 8)
    angles: Angles = {
        "pelvis_lean": lean,
        "pelvis_turn": 5 * vigour * _wave(cycle),
        "pelvis_roll": 3 * _wave(cycle + 0.75),
        "thorax_twist": -8 * vigour * _wave(cycle),
    }
    elbow, apart = rng.uniform(8, 35), rng.uniform(-2, 3)
    for side, own in zip(SIDES, (cycle, cycle + 0.5), strict=True):
        angles |= {
            f"{side}_hip_flexion": lean + 8 + 23 * vigour * _wave(own),
            f"{side}_hip_abduction": apart,
            f"{side}_knee_flexion": 5 + 12 * _bump(own, 0.14, 4) + 56 * vigour * _bump(own, 0.72, 2.4),
            f"{side}_shoulder_flexion": 2 - 19 * arms * _wave(own),
            f"{side}_shoulder_abduction": rng.uniform(4, 14),
            f"{side}_elbow_flexion": elbow + 12 * arms * (1 - _wave(own)),
        }
    return angles


def _standing(seconds: np.ndarray, rng: np.random.Generator) -> Angles:
    angles = _torso(seconds, rng)
    apart, step = rng.uniform(2, 12), keyframes(seconds, rng, -10, 10, every_s=2.0)
    for side, sign in zip(SIDES, (1, -1), strict=True):
        angles |= _resting_arm(side, seconds, rng, tuple(ARM_POSES)) | {
            f"{side}_hip_flexion": 3 + sign * step,
            f"{side}_hip_abduction": apart,
            f"{side}_knee_flexion": keyframes(seconds, rng, 2, 14, every_s=1.5),
        }
    return angles


def _stand_or_walk(seconds: np.ndarray, rng: np.random.Generator) -> Angles:
    return _standing(seconds, rng) if rng.random() < 0.6 else _torso(seconds, rng) | _stride(seconds, rng)


def _torso(seconds: np.ndarray, rng: np.random.Generator) -> Angles:
    """Small slow movements of back and head, so that nobody is a statue."""
    ranges = {
        "spine_flexion": (-3, 10),
        "spine_bend": (-6, 6),
        "spine_twist": (-10, 10),
        "thorax_flexion": (-4, 8),
        "neck_flexion": (-12, 20),
        "neck_turn": (-40, 40),
    }
    return {name: keyframes(seconds, rng, low, high, every_s=1.3) for name, (low, high) in ranges.items()}


def _resting_arm(side: str, seconds: np.ndarray, rng: np.random.Generator, poses: tuple[str, ...]) -> Angles:
    """An arm in one of the named poses, not quite still."""
    pose = ARM_POSES[poses[rng.integers(len(poses))]]
    names = ("shoulder_flexion", "shoulder_abduction", "shoulder_rotation", "elbow_flexion")
    return {
        f"{side}_{name}": angle + rng.uniform(-8, 8) + keyframes(seconds, rng, -6, 6, every_s=1.0)
        for name, angle in zip(names, pose, strict=True)
    }


def _wave(cycle: np.ndarray) -> np.ndarray:
    return np.cos(2 * np.pi * cycle)


def _bump(cycle: np.ndarray, centre: float, sharpness: float) -> np.ndarray:
    """Once a cycle smoothly to 1 and back to about 0."""
    return np.exp(sharpness * (_wave(cycle - centre) - 1))


def _ease(share: np.ndarray) -> np.ndarray:
    """0 to 1, at rest at both ends."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
