"""A network and its optimizer in a DeepSpeed engine, at any ZeRO stage, equal to the plain PyTorch engine.

The call pattern is the one that is right at every stage: forward through ``module``, backward and step through the
engine, everything that DeepSpeed would choose by itself written out. Its state leaves as whole tensors, so that it
can be loaded at another stage on another number of workers.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from aign.training.engine import EngineState, load_meta, meta_of, persistent_buffers, update_count
from aign.training.updates import Average, LossScale, UpdateOptions, finish_gradients, swapped_weights
from aign.training.workers import rank, world_size

MOMENTS = ("exp_avg", "exp_avg_sq")
BUCKET_SIZE = 2**22
"""Gradients summed at once. DeepSpeed allocates a buffer of so many in every step: above 32 MiB from fresh pages."""


def import_deepspeed(device: torch.device) -> Any:
    """DeepSpeed, quiet and made ready for this device; a process has only one."""
    os.environ["DS_ACCELERATOR"] = device.type  # by itself it would use any GPU that it sees
    if device.type == "cuda":
        os.environ["LOCAL_RANK"] = str(device.index or 0)  # the GPU that it moves modules to
    import deepspeed
    import deepspeed.ops

    # without this, the first run on a CPU compiles a communication op for half a minute, or fails without a compiler
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel(logging.ERROR)
    if not dist.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timedelta(minutes=5))
    deepspeed.init_distributed(dist_backend=dist.get_backend(), verbose=False)
    return deepspeed


class DeepSpeedEngine:
    """The Engine protocol over ``deepspeed.initialize``. ``optimizer`` must be a torch Adam over the module."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        updates: UpdateOptions | None = None,
        *,
        zero_stage: int,
        micro_batch_size: int,
        offload: bool = False,
    ) -> None:
        deepspeed = import_deepspeed(next(module.parameters()).device)
        self.zero_stage, self.optimizer, self.updates = zero_stage, optimizer, updates or UpdateOptions()
        self._initial_lrs = [group["lr"] for group in optimizer.param_groups]
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        self._groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
        self._engine = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            config=engine_config(zero_stage, micro_batch_size, self.updates, offload=offload),
            dist_init_required=False,
        )[0]
        self.module: nn.Module = self._engine.module
        self._parameters = dict(self.module.named_parameters())
        self._loss_scale = LossScale() if self.updates.scale_loss else None
        self._average = Average(self.updates.ema, self._own_weights()) if self.updates.ema else None
        self._withheld: list[tuple[Tensor, Tensor | None]] = []
        if zero_stage == 0:  # the optimizer steps on the parameters themselves, with gradients of all workers
            optimizer.register_step_pre_hook(lambda *_: finish_gradients(optimizer, self.updates, self._loss_scale))
        else:
            optimizer.register_step_pre_hook(self._withhold_gradients)
            optimizer.register_step_post_hook(self._restore_gradients)

    def backward(self, loss: Tensor) -> None:
        if self.zero_stage:  # as DeepSpeed's own forward does: else stage 3 replaces gradients instead of adding them
            self._engine.optimizer.clear_backward_seen_flag()
        if self._loss_scale and self.zero_stage:
            self._engine.optimizer.override_loss_scale(self._loss_scale.scale)
        elif self._loss_scale:
            loss = loss * self._loss_scale.scale
        self._engine.backward(loss)

    def step(self) -> None:
        for names, group in zip(self._groups, self.optimizer.param_groups, strict=True):
            group["at_rest"] = not any(self._parameters[name].requires_grad for name in names)
        self._engine.step()
        self._clear_gradients()
        if self._loss_scale and self.zero_stage:
            self._loss_scale.update(finite=not self._engine.optimizer.overflow)
        if self._average:
            self._average.update(self._own_weights())

    def _withhold_gradients(self, optimizer: Optimizer, *_: Any) -> None:
        """Sharded optimizers are given zeros for groups at rest, on which moments would decay and weights move on."""
        flats = [flat for group in optimizer.param_groups if group["at_rest"] for flat in group["params"]]
        self._withheld = [(flat, flat.grad) for flat in flats]
        for flat in flats:
            flat.grad = None

    def _restore_gradients(self, *_: Any) -> None:
        for flat, gradient in self._withheld:  # offloaded ones are buffers that DeepSpeed goes on using
            flat.grad = gradient

    def _clear_gradients(self) -> None:
        """Buffers that DeepSpeed keeps from one step to the next, so that a parameter without a gradient has zeros."""
        if self.zero_stage == 3:
            self._engine.optimizer.grad_partitions_flat_buffer.zero_()
        for _, flat in self._flats() if self.zero_stage else ():
            if flat.grad is not None:
                flat.grad.zero_()

    def set_lr_factor(self, factor: float) -> None:
        for group, lr in zip(self.optimizer.param_groups, self._initial_lrs, strict=True):
            group["lr"] = lr * factor

    @contextmanager
    def averaged(self) -> Iterator[None]:
        if self._average is None:
            yield
        elif self.zero_stage < 3:
            with swapped_weights(self._parameters.values(), self._average.values):
                yield
        else:
            own = {
                name: self._whole(name, shard)
                for name, shard in zip(self._parameters, self._own_weights(), strict=True)
            }
            self._load_model_copy(self._whole_averages())
            try:
                yield
            finally:
                self._load_model_copy(own)

    def _own_weights(self) -> list[Tensor]:
        """What forward uses, as far as this worker has it: whole parameters, or shards at stage 3."""
        return [p.ds_tensor if self.zero_stage == 3 else p.data for p in self._parameters.values()]

    def _frozen_weights(self) -> dict[str, Tensor]:
        """Those of ``_own_weights`` that no optimizer updates, by name."""
        learning = {name for names in self._groups for name in names}
        own = zip(self._parameters, self._own_weights(), strict=True)
        return {name: weights for name, weights in own if name not in learning}

    def _whole_averages(self) -> dict[str, Tensor]:
        if self._average is None:
            return {}
        return {
            name: self._whole(name, value) for name, value in zip(self._parameters, self._average.values, strict=True)
        }

    def _whole(self, name: str, own: Tensor) -> Tensor:
        """A whole parameter from every worker's shard of it."""
        if self.zero_stage < 3:
            return own
        parameter = self._parameters[name]
        gathered = own.new_empty(own.numel() * world_size())
        dist.all_gather_into_tensor(gathered, own.contiguous())
        return gathered[: parameter.ds_numel].view(parameter.ds_shape)

    # --- state as whole tensors -------------------------------------------------------------------------------------

    def state(self) -> EngineState:
        tensors, updates = self._whole_stage_0() if self.zero_stage == 0 else self._whole_sharded()
        tensors |= {f"param/{name}": self._whole(name, own) for name, own in self._frozen_weights().items()}
        tensors |= {f"buffer/{name}": buffer for name, buffer in persistent_buffers(self.module).items()}
        tensors |= {f"ema/{name}": value for name, value in self._whole_averages().items()}
        return EngineState(
            {
                k: v.detach().float().to("cpu", copy=True) if v.is_floating_point() else v.cpu().clone()
                for k, v in tensors.items()
            },
            {"updates": updates, **meta_of(self._average, self._loss_scale)},
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
        self._load_model_copy(state.weights)
        for name, buffer in persistent_buffers(self.module).items():
            buffer.copy_(tensors[f"buffer/{name}"])
        load_meta(state.meta, self._average, self._loss_scale)
        if self._average:
            averages = state.averaged_weights
            for name, value in zip(self._parameters, self._average.values, strict=True):
                value.copy_(averages[name] if self.zero_stage < 3 else self._own_shard(name, averages[name].to(device)))

    def _load_stage_0(self, tensors: dict[str, Tensor], updates: dict[str, int]) -> None:
        for names, group in zip(self._groups, self.optimizer.param_groups, strict=True):
            for name, master in zip(names, group["params"], strict=True):
                master.copy_(tensors[f"param/{name}"])
                if name in updates:
                    moments = {key: tensors[f"{key}/{name}"].clone() for key in MOMENTS}
                    self.optimizer.state[master] = {
                        "step": update_count(updates[name], self.optimizer, master.device),
                        **moments,
                    }

    def _load_masters_and_moments(self, tensors: dict[str, Tensor], updates: dict[str, int]) -> None:
        for group, flat in self._flats():
            counts = {updates[name] for name in self._groups[group] if name in updates}
            if len(counts) > 1:
                raise ValueError(f"parameters with different update counts {counts} cannot be sharded: ZeRO keeps one")
            if counts:
                zeros = {key: torch.zeros_like(flat) for key in MOMENTS}
                self.optimizer.state[flat] = {"step": update_count(counts.pop(), self.optimizer, flat.device), **zeros}
        self._relink()
        for names in self._groups:
            for name in names:
                self._set_whole(name, tensors[f"param/{name}"])
                for key in MOMENTS if name in updates else ():
                    self._set_whole(name, tensors[f"{key}/{name}"], key)

    def _load_model_copy(self, weights: dict[str, Tensor]) -> None:
        """What forward uses: at stages 1 to 3 another copy than the fp32 masters."""
        if self.zero_stage < 3:
            for name, parameter in self._parameters.items():
                parameter.data.copy_(weights[name])
            return
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(self._parameters.values()), modifier_rank=0):
            if rank() == 0:
                for name, parameter in self._parameters.items():
                    parameter.data.copy_(weights[name])

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

    def _set_whole(self, name: str, value: Tensor, key: str | None = None) -> None:
        """Set a parameter's master, or one of its moments."""
        from deepspeed import utils

        parameter = self._parameters[name]
        if self.zero_stage < 3:
            if key is None:
                utils.safe_set_full_fp32_param(parameter, value)
            else:
                utils.safe_set_full_optimizer_state(parameter, value, key)
        # the full setters fail at stage 3 when a size is not divisible by the workers
        elif key is None:
            utils.safe_set_local_fp32_param(parameter, self._own_shard(name, value))
        else:
            utils.safe_set_local_optimizer_state(parameter, self._own_shard(name, value), key)

    def _own_shard(self, name: str, whole: Tensor) -> Tensor:
        """This worker's padded share of a whole parameter, stage 3."""
        share = self._parameters[name].ds_tensor.numel()  # type: ignore[attr-defined]
        padded = torch.zeros(share * world_size(), device=whole.device)
        padded[: whole.numel()] = whole.flatten()
        return padded[rank() * share : (rank() + 1) * share]


def engine_config(zero_stage: int, micro_batch_size: int, updates: UpdateOptions, *, offload: bool) -> dict[str, Any]:
    """DeepSpeed's config, with all that it would otherwise choose by itself."""
    zero: dict[str, Any] = {"stage": zero_stage, "reduce_bucket_size": BUCKET_SIZE}
    if zero_stage in (1, 2):
        # a gradient is summed only where it is kept: all-reduce would send as much again
        zero["use_multi_rank_bucket_allreduce"] = False
        if not (offload or updates.clip or updates.scale_loss):
            zero["compute_grad_norm"] = False  # it makes workers meet twice more, for nobody
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": updates.clip
        if zero_stage
        else 0.0,  # its default is 1.0; stage 0 clips as TorchEngine does
        "managed_gradient_accumulation": False,  # backward adds up, step() is the boundary
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
