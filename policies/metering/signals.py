"""What flows between the layers of a network, known by the memory in which it lies: through views, and in branches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


@dataclass(frozen=True)
class Signal:
    """What is known of a tensor."""

    unit: float | None = None
    """The value with which one spike arrives; None for what is no sum of spikes."""
    source: Tensor | None = None
    """Spikes (T, B, n) of which a decoder or a leaky integrator made it."""
    received: Tensor | None = None
    """Of a current: where something other than a bias came in."""

    def decoded(self, x: Tensor) -> Tensor | None:
        """The spikes of which this, as ``x`` (…, n), was made: it is one step for all T, or a trace."""
        if self.source is None or self.source.dim() != 3 or x.shape[-1:] != self.source.shape[-1:]:
            return None
        return self.source if x.numel() in (self.source[0].numel(), self.source.numel()) else None


class Signals:
    """The signals of one decision. They keep no output alive: its memory is known as long as others need it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The next layer begins another decision."""
        self._known: dict[StorageWeakRef, tuple[int | None, Signal]] = {}
        self._last = Signal()

    def put(self, x: Tensor, signal: Signal) -> None:
        """``x`` is what flows now."""
        self._known = {memory: known for memory, known in self._known.items() if not memory.expired()}
        self._known[_memory(x)] = _version(x), signal
        self._last = signal

    def known(self, x: Tensor) -> Signal | None:
        """What was put for ``x``, or for what it is a view of, if nothing has changed it since."""
        version, signal = self._known.get(_memory(x), (None, None))
        return signal if version == _version(x) else None

    def of(self, x: Tensor) -> Signal:
        """What is known of ``x``; of a new tensor, such as a sum, what was put last stands for it."""
        return self.known(x) or self._last


def _memory(x: Tensor) -> StorageWeakRef:
    return StorageWeakRef(x.untyped_storage())


def _version(x: Tensor) -> int | None:
    """How often ``x`` was changed in place; not counted in inference mode."""
    return None if x.is_inference() else x._version
