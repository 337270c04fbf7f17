"""Event-driven convolutional networks: a trained network, compiled to act on a CPU when most values are zero."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from snn4.policies.engine.event_driven import is_watched
from snn4.policies.fused import is_fused, run_in_threads
from snn4.policies.network import is_stateful
from snn4.policies.networks.folding import fold_norms, is_conv, is_linear

DENSE = 0.35
"""Fraction of non-zero values above which a dense convolution is faster."""


class EventConv2d(nn.Module):
    """A convolution in which only non-zero values cost work: (N, C, H, W) -> (N, Co, Ho, Wo), channels_last.

    Its outputs are those of ``conv``, except for the order of sums. ``conv`` itself runs if many values are not zero,
    if it has a hook, or if there is no compiler.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        _keep_rows(self)

    def refresh(self) -> None:
        """Copy the current weights."""
        self.rows = self.conv.weight.detach().float().cpu().flip(3).permute(1, 2, 3, 0).contiguous().numpy()

    def forward(self, x: Tensor) -> Tensor:
        fits = x.dim() == 4 and x.shape[1] == self.conv.in_channels and not is_watched(self.conv)
        events = _events(x.permute(0, 2, 3, 1)) if fits else None
        if events is None:
            return self.conv(x.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]
        from snn4.policies.engine._event_kernels import convolve

        conv: Any = self.conv
        (ph, pw), (sh, sw) = conv.padding, conv.stride
        kh, kw = conv.kernel_size
        size = (x.shape[2] + 2 * ph - kh) // sh + 1, (x.shape[3] + 2 * pw - kw) // sw + 1
        out = _filled(conv.bias, (len(x), *size, conv.out_channels))
        run_in_threads(convolve, len(x), events, self.rows, sh, sw, ph, pw, out.numpy())
        return out.permute(0, 3, 1, 2)


class EventLinear(nn.Module):
    """A matrix product in which only non-zero values cost work: (N, n) -> (N, m)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        _keep_rows(self)

    def refresh(self) -> None:
        """Copy the current weights."""
        self.rows = self.linear.weight.detach().float().cpu().t().contiguous().numpy()

    def forward(self, x: Tensor) -> Tensor:
        fits = x.shape[-1] == self.linear.in_features and not is_watched(self.linear)
        events = _events(x.reshape(-1, x.shape[-1])) if fits else None
        if events is None:
            return self.linear(x)  # type: ignore[no-any-return]
        from snn4.policies.engine._event_kernels import multiply

        out = _filled(self.linear.bias, (len(events), self.linear.out_features))
        run_in_threads(multiply, len(events), events, self.rows, out.numpy())
        return out.view(*x.shape[:-1], -1)


def event_driven(network: nn.Module) -> nn.Module:
    """A copy of ``network`` for acting: convolutions include their batch norms, and synapses behind neurons use events.

    The copy does not follow learning: compile again after the network has learned. Synapses before the first neuron see
    real values, and stay dense. So do subclasses and parametrized layers, whose computation is unknown.

    Raises:
        ValueError: if the network is not on a CPU in float32.
    """
    for name, parameter in network.named_parameters():
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            raise ValueError(f"{name}: got {parameter.dtype} on {parameter.device}, allowed is float32 on the CPU")
    duplicate = copy.deepcopy(network).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    _compile(duplicate, spiking=False)
    compiled = {layer.conv for layer in duplicate.modules() if isinstance(layer, EventConv2d)}
    for layer in duplicate.modules():
        if isinstance(layer, nn.Conv2d) and layer not in compiled:
            layer.register_forward_pre_hook(_channels_last)
    return duplicate


def _keep_rows(layer: EventConv2d | EventLinear) -> None:
    """Copy the weights of ``layer`` now and after each `load_state_dict`."""
    layer.refresh()
    layer.register_load_state_dict_post_hook(_refresh)


def _refresh(loaded: Any, keys: Any) -> None:
    loaded.refresh()


def _channels_last(conv: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Make inputs channels_last; a single image fits both formats, and torch would continue with the slower one."""
    return (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])


def _compile(module: nn.Module, spiking: bool) -> bool:
    """Replace the synapses in ``module`` behind neurons; returns whether neurons come before its output.

    ``spiking`` says whether neurons come before its input.
    """
    if isinstance(module, nn.Sequential):
        fold_norms(module)
    for name, layer in list(module.named_children()):
        if spiking and is_linear(layer):
            setattr(module, name, EventLinear(layer))
        elif spiking and is_conv(layer) and _is_plain(layer):
            setattr(module, name, EventConv2d(layer))
        elif list(layer.children()):
            spiking = _compile(layer, spiking)
        elif is_stateful(layer):
            spiking = True
    return spiking


def _is_plain(conv: nn.Conv2d) -> bool:
    ungrouped = conv.groups == 1 and conv.dilation == (1, 1)
    return ungrouped and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _events(x: Tensor) -> Any:
    """The values of ``x`` as an array if so few are non-zero that events are faster; else None."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled() or not is_fused():
        return None
    from snn4.policies.engine._event_kernels import count_nonzero

    values = x.contiguous().numpy()
    return values if count_nonzero(values.reshape(-1)) < DENSE * values.size else None


def _filled(bias: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    if bias is None:
        return torch.zeros(shape)
    # Always a copy: with a single row, the expanded bias would be the bias itself, and kernels would overwrite it.
    return bias.detach().expand(shape).clone(memory_format=torch.contiguous_format)
