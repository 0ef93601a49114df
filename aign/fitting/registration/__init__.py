"""Fast global registration (Zhou, Park and Koltun, ECCV 2016) with the general loss, section 3.3 of Barron's paper.

    pose, facts = register(source, target)                                  # the shape alpha is annealed
    pose, facts = register(source, target, alpha=-2, scale=annealed_scale(source, target))       # FGR itself

``python -m aign.fitting.registration --help`` compares them on generated clouds or real scans.
"""

from aign.fitting.registration.register import Registration, annealed_scale, register, terminal_scale

__all__ = ["Registration", "annealed_scale", "register", "terminal_scale"]
