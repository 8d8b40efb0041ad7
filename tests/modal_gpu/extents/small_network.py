"""A small network with random weights, for tests."""

import torch

from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings

SMALL = NetworkSettings(stem=4, width=8, blocks=1, compared=4, mix=8, head=4, temporal=8)


def network(seed: int = 0) -> ExtentsNetwork:
    """Random weights, running statistics of batch normalisation included."""
    torch.manual_seed(seed)
    made = ExtentsNetwork(SMALL)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return made.eval()
