"""The network that is compressed, as it was trained and with its batch norms folded, what it consists of and costs."""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from aign.compression.anatomy import Anatomy, dissect
from aign.compression.cost import Cost, cost_of
from aign.compression.folding import Projections, folded, without_batch_norm
from aign.compression.thinning import copied_thin
from aign.tasks.base import Task


class Source:
    """A trained network; ``example`` are two samples or more of what it observes, on a CPU."""

    def __init__(self, network: nn.Module, example: Mapping[str, Tensor]) -> None:
        self.network, self.example = network.cpu(), dict(example)

    @classmethod
    def of(cls, task: Task) -> "Source":
        """A task's generator, whether the task has its data or not."""
        return cls(task.model.generator, task.model.example(2, torch.Generator().manual_seed(0)))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Give the network other weights of the same sizes; what it consists of and costs is as before."""
        self.network.load_state_dict(dict(weights))
        self.__dict__.pop("whole", None)

    @cached_property
    def before(self) -> Anatomy:
        """What it consists of, batch norms included."""
        return dissect(self.network, self.example)

    @cached_property
    def whole(self) -> nn.Module:
        """A copy that does the same without those batch norms that can be folded."""
        return without_batch_norm(self.network, self.before)

    @cached_property
    def anatomy(self) -> Anatomy:
        """What ``whole`` consists of."""
        return dissect(self.whole, self.example)

    @cached_property
    def cost(self) -> Cost:
        """Of ``whole``."""
        return cost_of(self.whole, self.example)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of ``whole``."""
        return dict(self.whole.state_dict())

    def thinned(self, projections: Projections) -> nn.Module:
        """The plain network that it becomes when projections are folded (Eq. 8)."""
        return copied_thin(self.network, folded(self.anatomy, self.weights, projections))
