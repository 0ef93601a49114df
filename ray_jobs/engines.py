"""A network and its optimizer in a DeepSpeed engine, at any ZeRO stage, equal to the plain PyTorch engine.

The call pattern is the one that is right at every stage: forward through ``module``, backward and step through the
engine, everything that DeepSpeed would choose by itself written out. Its state leaves as whole tensors, so that it
can be loaded at another stage on another number of workers.
"""

import logging
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from aign.training.engine import EngineState
from aign.training.workers import rank, world_size

MOMENTS = ("exp_avg", "exp_avg_sq")


def import_deepspeed() -> Any:
    """DeepSpeed, made ready for this machine and quiet."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.ops

    # without this, the first run on a CPU compiles a communication op for half a minute, or fails without a compiler
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel(logging.ERROR)
    if not dist.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=timedelta(minutes=5))
    deepspeed.init_distributed(dist_backend=dist.get_backend(), verbose=False)
    return deepspeed


class DeepSpeedEngine:
    """The Engine protocol over ``deepspeed.initialize``. ``optimizer`` must be a torch Adam over the module."""

    def __init__(self, module: nn.Module, optimizer: Optimizer, *, zero_stage: int, micro_batch_size: int) -> None:
        deepspeed = import_deepspeed()
        self.zero_stage, self.optimizer = zero_stage, optimizer
        self._initial_lrs = [group["lr"] for group in optimizer.param_groups]
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        self._groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
        config = {
            "train_micro_batch_size_per_gpu": micro_batch_size,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": 0.0,  # its default is 1.0
            "managed_gradient_accumulation": False,  # step() is the boundary
            "zero_optimization": {"stage": zero_stage},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        }
        self._engine = deepspeed.initialize(model=module, optimizer=optimizer, config=config, dist_init_required=False)[
            0
        ]
        self.module: nn.Module = self._engine.module
        self._parameters = dict(self.module.named_parameters())

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def step(self) -> None:
        self._engine.step()

    def set_lr_factor(self, factor: float) -> None:
        for group, lr in zip(self.optimizer.param_groups, self._initial_lrs, strict=True):
            group["lr"] = lr * factor

    # --- state as whole tensors -------------------------------------------------------------------------------------

    def state(self) -> EngineState:
        tensors, updates = self._whole_stage_0() if self.zero_stage == 0 else self._whole_sharded()
        tensors |= {f"buffer/{name}": buffer for name, buffer in self.module.named_buffers()}
        return EngineState(
            {
                k: v.detach().float().to("cpu", copy=True) if v.is_floating_point() else v.cpu().clone()
                for k, v in tensors.items()
            },
            {"updates": updates},
        )

    def _whole_stage_0(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        tensors, updates = {}, {}
        for names, group in zip(self._groups, self.optimizer.param_groups, strict=True):
            for name, master in zip(names, group["params"], strict=True):
                tensors[f"param/{name}"] = master
                if state := self.optimizer.state.get(master):
                    updates[name] = int(state["step"])
                    tensors |= {f"{key}/{name}": state[key] for key in MOMENTS}
        return tensors, updates

    def _whole_sharded(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        self._relink()
        steps = {
            group: int(state["step"]) for group, flat in self._flats() if (state := self.optimizer.state.get(flat))
        }
        tensors, updates = {}, {}
        for group, names in enumerate(self._groups):
            for name in names:
                parameter = self._parameters[name]
                tensors[f"param/{name}"] = safe_get_full_fp32_param(parameter)
                if group in steps:
                    updates[name] = steps[group]
                    tensors |= {f"{key}/{name}": safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
        return tensors, updates

    @torch.no_grad()
    def load(self, state: EngineState) -> None:
        device = next(iter(self._parameters.values())).device
        tensors = {name: tensor.to(device) for name, tensor in state.tensors.items()}
        if self.zero_stage == 0:
            self._load_stage_0(tensors, state.meta["updates"])
        else:
            self._load_masters_and_moments(tensors, state.meta["updates"])
        self._load_model_copy(tensors)
        for name, buffer in self.module.named_buffers():
            buffer.copy_(tensors[f"buffer/{name}"])

    def _load_stage_0(self, tensors: dict[str, Tensor], updates: dict[str, int]) -> None:
        for names, group in zip(self._groups, self.optimizer.param_groups, strict=True):
            for name, master in zip(names, group["params"], strict=True):
                master.copy_(tensors[f"param/{name}"])
                if name in updates:
                    moments = {key: tensors[f"{key}/{name}"].clone() for key in MOMENTS}
                    self.optimizer.state[master] = {"step": torch.tensor(float(updates[name])), **moments}

    def _load_masters_and_moments(self, tensors: dict[str, Tensor], updates: dict[str, int]) -> None:
        for group, flat in self._flats():
            counts = {updates[name] for name in self._groups[group] if name in updates}
            if len(counts) > 1:
                raise ValueError(f"parameters with different update counts {counts} cannot be sharded: ZeRO keeps one")
            if counts:
                zeros = {key: torch.zeros_like(flat) for key in MOMENTS}
                self.optimizer.state[flat] = {"step": torch.tensor(float(counts.pop())), **zeros}
        self._relink()
        for names in self._groups:
            for name in names:
                self._set_whole(self._parameters[name], tensors[f"param/{name}"])
                for key in MOMENTS if name in updates else ():
                    self._set_whole(self._parameters[name], tensors[f"{key}/{name}"], key)

    def _load_model_copy(self, tensors: dict[str, Tensor]) -> None:
        """What forward uses: at stages 1 to 3 another copy than the fp32 masters."""
        if self.zero_stage < 3:
            for name, parameter in self._parameters.items():
                parameter.data.copy_(tensors[f"param/{name}"])
            return
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(self._parameters.values()), modifier_rank=0):
            if rank() == 0:
                for name, parameter in self._parameters.items():
                    parameter.data.copy_(tensors[f"param/{name}"])

    def _flats(self) -> list[tuple[int, Tensor]]:
        """(group, flat fp32 partition) on this worker, stages 1 to 3."""
        if self.zero_stage == 3:
            zero = self._engine.optimizer
            return [(zero.sub_group_to_group_id[i], flat) for i, flat in enumerate(zero.fp32_partitioned_groups_flat)]
        return [(group, values["params"][0]) for group, values in enumerate(self.optimizer.param_groups)]

    def _relink(self) -> None:
        """Stages 1 and 2: tie parameters to their part of the flat optimizer state, which DeepSpeed does lazily."""
        if self.zero_stage not in (1, 2):
            return
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        for names, group in zip(self._groups, self.optimizer.param_groups, strict=True):
            flat = group["params"][0]
            if self.optimizer.state.get(flat):
                parameters = [self._parameters[name] for name in names]
                lazy_init_hp_params_optimizer_state(parameters, flat, self.optimizer.state)

    def _set_whole(self, parameter: nn.Parameter, value: Tensor, key: str | None = None) -> None:
        from deepspeed import utils

        if self.zero_stage < 3:
            if key is None:
                utils.safe_set_full_fp32_param(parameter, value)
            else:
                utils.safe_set_full_optimizer_state(parameter, value, key)
            return
        # the full setters fail at stage 3 when a size is not divisible by the workers: set this worker's padded slice
        share = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
        padded = torch.zeros(share * world_size(), device=value.device)
        padded[: value.numel()] = value.flatten()
        local = padded[rank() * share : (rank() + 1) * share]
        if key is None:
            utils.safe_set_local_fp32_param(parameter, local)
        else:
            utils.safe_set_local_optimizer_state(parameter, local, key)
