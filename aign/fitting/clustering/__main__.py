"""``python -m aign.fitting.clustering``: alphas compared as in Table 4 of the robust loss paper."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Le

from aign.command import print_table, run
from aign.data.digits import Digits, generated_digits, load_digits
from aign.errors import UserError
from aign.fitting.clustering.agreement import adjusted_mutual_information
from aign.fitting.clustering.cluster import cluster
from aign.fitting.clustering.graph import Metric, mutual_neighbours
from aign.options import CheckedOptions, Seed

PROG = "python -m aign.fitting.clustering"
RCC_ALPHA = -2.0


@dataclass(frozen=True, kw_only=True)
class Options(CheckedOptions):
    """Cluster images of ten kinds with several alphas, from the same graphs, and print how well the clusters agree
    with the kinds."""

    data: Literal["generated", "digits"] = "generated"
    """generated: scribbles of ten kinds. digits: real handwritten digits (MNIST) in $AIGN_DATA/mnist."""
    samples: Annotated[int, Ge(20), Le(10**6)] = 1000
    """Images in a draw."""
    draws: Annotated[int, Ge(1), Le(10**5)] = 3
    """How many times images are drawn and clustered; the table shows the mean."""
    alphas: tuple[Annotated[float, Ge(-1e6), Le(2)], ...] = (1.0, 0.5, 0.0, -0.5, -1.0, -2.0, -4.0, -8.0, -16.0, -32.0)
    """Shapes of the loss; -2 is always among them, since it is the one that others are compared with."""
    k: Annotated[int, Ge(1), Le(10**5)] = 10
    """Nearest neighbours of a sample that it may have edges to."""
    metric: Metric = "cosine"
    """Distance by which neighbours are nearest."""
    split: Literal["train", "test"] = "test"
    """Of the real digits."""
    seed: Seed = 0
    """Seed of the first draw; the others' follow it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data == "generated" and self.split != "test":
            raise UserError(f"--split {self.split}", "generated images have no splits", "leave it out")

    def draw(self, seed: int) -> Digits:
        if self.data == "generated":
            return generated_digits(self.samples, seed)
        return load_digits(self.split, self.samples, seed)


class Found(NamedTuple):
    """By one alpha in one draw."""

    agreement: float
    """AMI of the clusters and the kinds."""
    num_clusters: int


def command(options: Options) -> None:
    """Print the table."""
    alphas = sorted({RCC_ALPHA, *options.alphas}, reverse=True)
    found: dict[float, list[Found]] = {alpha: [] for alpha in alphas}
    name = ""
    for seed in range(options.seed, options.seed + options.draws):
        digits = options.draw(seed)
        name, x = digits.name, digits.images.flatten(1)
        graph = mutual_neighbours(x, options.k, options.metric)
        for alpha in alphas:
            clusters = cluster(x, alpha=alpha, graph=graph)
            agreement = adjusted_mutual_information(clusters.labels, digits.labels)
            found[alpha].append(Found(agreement, clusters.num_clusters))
        print(f"draw {seed}: {len(x)} samples clustered with {len(alphas)} alphas", flush=True)
    title = f"clustering of {name}: {options.draws} draws of {options.samples} samples of 10 kinds; AMI with the kinds"
    columns = ("loss", "alpha", "mean AMI", "lowest", "highest", "mean clusters")
    print_table(title, columns, [_row(alpha, draws, best(found)) for alpha, draws in found.items()])
    print(_gain(found))


def best(found: Mapping[float, Sequence[Found]]) -> float:
    """The alpha with the highest mean AMI; of equals the one nearest to RCC's."""
    return max(found, key=lambda alpha: (_mean(found[alpha]), -abs(alpha - RCC_ALPHA)))


def _row(alpha: float, draws: Sequence[Found], chosen: float) -> tuple[str, ...]:
    names = [name for name, at in (("RCC", RCC_ALPHA), ("gRCC*", chosen)) if alpha == at]
    agreements = [draw.agreement for draw in draws]
    figures = (mean(agreements), min(agreements), max(agreements))
    clusters = mean(draw.num_clusters for draw in draws)
    return " ".join(names), f"{alpha:g}", *(f"{figure:.3f}" for figure in figures), f"{clusters:.1f}"


def _gain(found: Mapping[float, Sequence[Found]]) -> str:
    """As the paper's Table 4 has it: how much of what is missing to 1 the best alpha gains."""
    ours, theirs = _mean(found[best(found)]), _mean(found[RCC_ALPHA])
    gain = (ours - theirs) / (1 - theirs) if theirs < 1 else 0.0
    return (
        f"gRCC* at alpha {best(found):g}, chosen in view of the kinds as in the paper, gains {100 * gain:.1f} % of "
        f"what RCC lacks to 1"
    )


def _mean(draws: Sequence[Found]) -> float:
    return mean(draw.agreement for draw in draws)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    return run(Options, command, PROG, argv)


if __name__ == "__main__":
    sys.exit(main())
