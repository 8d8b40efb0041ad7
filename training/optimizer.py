"""The optimizers: PyTorch's Muon for the convolutions, its AdamW for everything else."""

import torch
from torch import Tensor, nn

from modal_gpu.extents.network import ExtentsNetwork


class MuonAndAdamW:
    """Both optimizers under one learning rate.

    Muon (Jordan et al., https://kellerjordan.github.io/posts/muon/, 2024) learns more per step than AdamW,
    and PyTorch can scale its steps to the length of AdamW's. It accepts only matrices, so it gets views of
    the kernels, (outputs, inputs · size). The network must therefore keep its weights in channels-last order.
    """

    def __init__(self, network: ExtentsNetwork, weight_decay: float) -> None:
        # Layers that produce a logit do not map features to features.
        logits = {layer.weight for layer in (network.text_out, network.change_out, network.temporal[-1])}
        self._kernels: list[tuple[nn.Parameter, nn.Parameter]] = []
        others = []
        for parameter in network.parameters():
            if parameter.ndim >= 3 and parameter not in logits:
                self._kernels.append((parameter, nn.Parameter(_matrix(parameter.data))))
            else:
                others.append(parameter)
        matrices = [matrix for _, matrix in self._kernels]
        self._optimizers = (
            torch.optim.Muon(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, weight_decay=weight_decay, fused=True),
        )

    def step(self, rate: float) -> None:
        """Update the weights from their gradients at learning rate ``rate``, and clear the gradients."""
        for kernel, matrix in self._kernels:
            matrix.grad, kernel.grad = _matrix(kernel.grad), None
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dict(self, states: list[dict]) -> None:
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def _matrix(kernel: Tensor) -> Tensor:
    """View a kernel (outputs, inputs, …), channels last if of pictures, as (outputs, …), without a copy."""
    return (kernel.permute(0, 2, 3, 1) if kernel.ndim == 4 else kernel).view(len(kernel), -1)
