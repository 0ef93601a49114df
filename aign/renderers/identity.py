"""The renderer of tasks that infer what is observed itself."""

from torch import Tensor, nn


class Identity(nn.Module):
    """The inferred ``image`` is what is observed of it."""

    def forward(self, inferred: dict[str, Tensor], observed: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"image": inferred["image"]}
