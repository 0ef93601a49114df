"""``python -m aign.fitting.registration``: losses compared as in Table 3 of the robust loss paper."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt, MinLen
from matplotlib.backend_bases import FigureCanvasBase

from aign.command import print_table, run
from aign.data.pointclouds import CloudPair, generated_pair, scan_pair
from aign.errors import UserError
from aign.fitting.registration.comparison import FGR, SHAPE_ANNEALED, SQUARES, Errors, compare, motions
from aign.fitting.registration.picture import draw
from aign.fitting.registration.register import match
from aign.options import CheckedOptions, Seed
from aign.outputs import check_file, write_file

PROG = "python -m aign.fitting.registration"

Alpha = Annotated[float, Ge(-1e6), Le(2)]


@dataclass(frozen=True, kw_only=True)
class Options(CheckedOptions):
    """Register pairs of point clouds with several losses, from the same matches, and print their errors."""

    data: Literal["generated", "scans"] = "generated"
    """generated: two partial views of made-up things. scans: two range scans in $AIGN_DATA/pointclouds."""
    pairs: Annotated[int, Ge(1), Le(10**5)] = 10
    """How many pairs: things, or drawings of points from the scans; each with a motion and noise of its own."""
    noise: Annotated[tuple[Annotated[float, Ge(0), Le(10)], ...], MinLen(1)] = (0.0, 0.0025, 0.005)
    """Standard deviations of the noise in each coordinate of both clouds, as shares of the diameter."""
    outliers: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of each cloud's points that are replaced by points anywhere in its bounding box."""
    num_points: Annotated[int, Ge(500), Le(10**6)] = 3000
    """Points of each cloud."""
    alphas: Annotated[tuple[Alpha, ...], MinLen(1)] = (1.0, 0.5, 0.0, -0.5, -1.0, -2.0, -4.0, -8.0, -16.0, -32.0)
    """Shapes tried for gFGR*, whose scale is annealed; the best at each level of noise is shown."""
    seed: Seed = 0
    """Seed of the first pair; the others' follow it."""
    picture: Path | None = None
    """Also draw the first pair with the most noise, before and after, into this file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.picture:
            _format(self.picture)

    def pair(self, seed: int, noise: float) -> CloudPair:
        make = generated_pair if self.data == "generated" else scan_pair
        return make(seed, num_points=self.num_points, noise=noise, outliers=self.outliers)


def command(options: Options) -> None:
    """Print the table, and draw the picture if asked for one."""
    if options.picture:
        check_file(options.picture)
    seeds = range(options.seed, options.seed + options.pairs)
    found = compare(options.pair, seeds=seeds, noises=options.noise, alphas=options.alphas, say=_say)
    kind = "generated things" if options.data == "generated" else "drawings from two real scans"
    outliers = f", {100 * options.outliers:g} % outliers" if options.outliers else ""
    title = (
        f"registration of {options.pairs} pairs ({kind}; 2 x {options.num_points} points{outliers}): RMSE of the "
        f"shared points, % of the diameter, by noise"
    )
    columns = ["loss", *(f"{which} {noise:g}" for which in ("mean", "max") for noise in options.noise), "alpha"]
    print_table(title, columns, [_row(name, errors) for name, errors in found.items()])
    if options.picture:
        _draw(options, options.picture)


def _row(name: str, errors: Sequence[Errors]) -> list[str]:
    figures = [f"{100 * value:.3f}" for value in (*(e.mean for e in errors), *(e.max for e in errors))]
    return [name, *figures, " ".join(f"{e.alpha:g}" for e in errors if e.alpha is not None)]


def _draw(options: Options, path: Path) -> None:
    pair = options.pair(options.seed, max(options.noise))
    made = motions(pair, match(pair.source, pair.target, seed=options.seed))
    shown = {name: made[name].target_from_source for name in (SQUARES, FGR, SHAPE_ANNEALED)}
    drawn = io.BytesIO()
    draw(pair, shown).savefig(drawn, dpi=120, format=_format(path))
    write_file(path, drawn.getvalue())
    _say(f"picture: {path}")


def _format(path: Path) -> str:
    """The kind of picture that a file's name asks for. Raises UserError if it is none."""
    known = FigureCanvasBase.get_supported_filetypes()
    kind = path.suffix.removeprefix(".").lower()
    if kind not in known:
        raise UserError(
            f"--picture {path}",
            f"has no ending of a picture that can be drawn ({', '.join(known)})",
            "name it clouds.png, say",
        )
    return kind


def _say(line: str) -> None:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    return run(Options, command, PROG, argv)


if __name__ == "__main__":
    sys.exit(main())
