"""Event-driven convolutional networks: a trained network, compiled to act on a CPU where most values are zero."""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from snn4.policies.engine.event_driven import is_watched
from snn4.policies.fused import is_fused, run_in_threads
from snn4.policies.network import is_stateful
from snn4.policies.normalization import BatchNorm2d

DENSE = 0.35
"""Above this fraction of non-zero values a dense convolution is faster."""


class EventConv2d(nn.Module):
    """A convolution in which only non-zero values cost work: (N, C, H, W) -> (N, Co, Ho, Wo), channels_last.

    Equal to ``conv`` but for the order of sums. Where much is not zero, a hook on ``conv`` wants to see it work, or no
    compiler is there, it is ``conv``.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        _keep_rows(self)

    def refresh(self) -> None:
        """Take the weights as they are now."""
        self.rows = self.conv.weight.detach().float().cpu().flip(3).permute(1, 2, 3, 0).contiguous().numpy()

    def forward(self, x: Tensor) -> Tensor:
        fits = x.dim() == 4 and x.shape[1] == self.conv.in_channels and not is_watched(self.conv)
        events = _events(x.permute(0, 2, 3, 1)) if fits else None
        if events is None:
            return self.conv(x.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]
        from snn4.policies.engine._event_kernels import convolve

        conv: Any = self.conv
        (ph, pw), (sh, sw), (kh, kw) = conv.padding, conv.stride, conv.kernel_size
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
        """Take the weights as they are now."""
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
    """A copy of ``network`` to act with: batch norms folded into their convolutions, synapses behind neurons by events.

    The copy takes no part in learning: compile again when the network has learned. Synapses before the first neuron,
    which see real values, stay dense, and so do subclasses and parametrized layers, which may do anything.

    Raises:
        ValueError: the network is not on a CPU in float32.
    """
    for name, parameter in network.named_parameters():
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            raise ValueError(f"{name}: got {parameter.dtype} on {parameter.device}, allowed is float32 on the CPU")
    copied = copy.deepcopy(network).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    _compile(copied, spiking=False)
    compiled = {layer.conv for layer in copied.modules() if isinstance(layer, EventConv2d)}
    for layer in copied.modules():
        if isinstance(layer, nn.Conv2d) and layer not in compiled:
            layer.register_forward_pre_hook(_channels_last)
    return copied


def _keep_rows(layer: EventConv2d | EventLinear) -> None:
    """Rows of its weights as they are now, and after each `load_state_dict`."""
    layer.refresh()
    layer.register_load_state_dict_post_hook(_refresh)


def _refresh(loaded: Any, keys: Any) -> None:
    loaded.refresh()


def _channels_last(conv: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One image has both memory formats, of which torch takes the slower one for what follows."""
    return (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])


def _compile(module: nn.Module, spiking: bool) -> bool:
    """Replace the synapses inside ``module``; returns whether its output spikes, given whether its input does."""
    if isinstance(module, nn.Sequential):
        _fold_norms(module)
    for name, layer in list(module.named_children()):
        if spiking and type(layer) is nn.Linear:
            setattr(module, name, EventLinear(layer))
        elif spiking and type(layer) is nn.Conv2d and _is_plain(layer):
            setattr(module, name, EventConv2d(layer))
        elif list(layer.children()):
            spiking = _compile(layer, spiking)
        elif is_stateful(layer):
            spiking = True
    return spiking


def _is_plain(conv: nn.Conv2d) -> bool:
    whole = conv.groups == 1 and conv.dilation == (1, 1)
    return whole and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _fold_norms(layers: nn.Sequential) -> None:
    """Put batch norms into the convolutions before them, also through pooling that lets them pass."""
    for number in range(len(layers) - 1):
        conv, pooling, after = layers[number], layers[number + 1], number + 1
        if isinstance(pooling, (nn.AvgPool2d, nn.MaxPool2d)) and after + 1 < len(layers):
            after += 1
        norm = layers[after]
        if type(conv) is not nn.Conv2d or not _is_norm(norm) or not _passes(pooling, norm):
            continue
        layers[number], layers[after] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    for number in reversed(range(len(layers))):
        if isinstance(layers[number], nn.Identity):
            del layers[number]


def _is_norm(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    return type(layer) in (nn.BatchNorm2d, BatchNorm2d)  # a subclass of anyone else's may compute something else


def _passes(pooling: nn.Module, norm: nn.BatchNorm2d) -> bool:
    """Whether the norm can be folded, and before ``pooling`` is what it is after it, if there is pooling between."""
    if not norm.track_running_stats:
        return False
    if isinstance(pooling, nn.AvgPool2d):
        # At a border of zeros a bias would be averaged with them; by another divisor it would not stay the bias.
        return pooling.padding == 0 and pooling.divisor_override is None
    # A negative factor would make the largest value the smallest.
    return not isinstance(pooling, nn.MaxPool2d) or not norm.affine or bool((norm.weight >= 0).all())


def _events(x: Tensor) -> Any:
    """The values of ``x`` as an array, if so few of them are not 0 that events are faster; None if they are not."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled() or not is_fused():
        return None
    from snn4.policies.engine._event_kernels import count_nonzero

    values = x.contiguous().numpy()
    return values if count_nonzero(values.reshape(-1)) < DENSE * values.size else None


def _filled(bias: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    # A copy in any case: where one row is all there is, the expanded bias would be the bias itself, and be written to.
    return (
        torch.zeros(shape) if bias is None else bias.detach().expand(shape).clone(memory_format=torch.contiguous_format)
    )
