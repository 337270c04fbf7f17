"""Signals between the layers of a network, identified by their memory, also through views and in branches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


@dataclass(frozen=True)
class Signal:
    """Facts about a tensor that flows between layers."""

    unit: float | None = None
    """The value of one spike; None for a tensor that is not a sum of spikes."""
    source: Tensor | None = None
    """Spikes (T, B, n) from which a decoder or a leaky integrator computed the tensor."""
    received: Tensor | None = None
    """For a current: which of its values have an input other than a bias."""

    def decoded(self, x: Tensor) -> Tensor | None:
        """The spikes from which ``x`` (…, n), one step for all T or a trace, was decoded; None if there are none."""
        if self.source is None or self.source.dim() != 3 or x.shape[-1:] != self.source.shape[-1:]:
            return None
        return self.source if x.numel() in (self.source[0].numel(), self.source.numel()) else None


class Signals:
    """The signals of one decision. They keep no output alive: an entry ends when its memory is freed."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all signals: the next layer starts a new decision."""
        self._known: dict[StorageWeakRef, tuple[int | None, Signal]] = {}
        self._last = Signal()

    def put(self, x: Tensor, signal: Signal) -> None:
        """Record ``signal`` for ``x``, the latest output."""
        self._known = {memory: entry for memory, entry in self._known.items() if not memory.expired()}
        self._known[_memory(x)] = _version(x), signal
        self._last = signal

    def known(self, x: Tensor) -> Signal | None:
        """The signal of ``x``, or of the tensor that ``x`` is a view of; None if it is unknown or has changed since."""
        version, signal = self._known.get(_memory(x), (None, None))
        return signal if version == _version(x) else None

    def of(self, x: Tensor) -> Signal:
        """The signal of ``x``; for a new tensor, such as a sum, the latest signal."""
        return self.known(x) or self._last


def _memory(x: Tensor) -> StorageWeakRef:
    return StorageWeakRef(x.untyped_storage())


def _version(x: Tensor) -> int | None:
    """Number of in-place changes of ``x``; None in inference mode, which does not count them."""
    return None if x.is_inference() else x._version
