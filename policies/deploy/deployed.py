"""A policy that acts without torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.deploy.file import read_network
from snn4.policies.deploy.network import Network
from snn4.policies.engine.codes import encode
from snn4.policies.engine.compiled import KernelName, Prepared, prepare
from snn4.policies.engine.plain import Floats


def load(path: str | Path, kernel: KernelName | None = None) -> Deployed:
    """The policy in the file that `snn4.policies.deploy.save` or ``snn4-agent export --target deploy`` wrote.

    Args:
        path: of the file.
        kernel: ``"c"`` or ``"numba"``; None takes C where there is a compiler.

    Raises:
        DeployError: there is no such file, or it is damaged or of another version; the message says which.
        OSError: for C without a compiler.
    """
    return Deployed(read_network(Path(path)), kernel)


class Deployed:
    """Decides as the policy's ``predict(deterministic=True)`` does; for one thread at a time.

    Policies with ``state: carry`` hold their membranes between calls: call `reset` before each episode.
    """

    def __init__(self, network: Network, kernel: KernelName | None = None) -> None:
        self.network, self._kernel = network, kernel
        self._inputs = math.prod(network.shape)
        self._head = network.head.weight.T
        self._prepared: Prepared | None = None
        self._batch = 0
        self._traces: list[Floats] = []
        """Of policies with memory, the leaky integrators (B, n): dendrites, then readout; empty at rest."""

    def act(self, observation: Any) -> Any:
        """The action for an observation of the policy's shape, or the actions (B, …) for B of them.

        Raises:
            ValueError: for an observation of another shape or with NaN, and, with memory, for another number of
                observations within an episode.
        """
        x = np.asarray(observation)
        single = x.shape == self.network.shape
        flat = self._flat(x, 1 if single else len(x) if x.ndim else 0)
        actions = self._chosen(self._values(flat))
        return actions[0] if single else actions

    def reset(self, starts: Any = None) -> None:
        """Begin an episode: all membranes return to rest, or those of observations that ``starts`` (B,) marks."""
        if starts is None or not self._traces:
            self._traces = []
            return
        begin = np.asarray(starts, bool)
        assert self._prepared is not None
        for trace in self._traces:
            trace[begin] = 0
        for layer, state in zip(self.network.layers, self._prepared.states, strict=True):
            state[:, begin] = 0
            state[: layer.flags[0], begin] = layer.rest

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, None]:
        """`act` with the signature of stable-baselines3's ``predict``, for code that was written for it.

        ``episode_start`` marks observations that begin an episode. ``state`` is not needed.
        """
        if not deterministic:
            raise ValueError("deterministic: got False, allowed is True; a deployed policy does not explore")
        if episode_start is not None:
            self.reset(episode_start)
        return self.act(observation), None

    def _flat(self, x: NDArray[Any], batch: int) -> Floats:
        """Observations (B, n) as the network sees them."""
        shape, statistics = self.network.shape, self.network.statistics
        if x.shape[-len(shape) :] != shape or x.size != batch * self._inputs or not batch:
            raise ValueError(
                f"observation: got shape {x.shape}, allowed are {shape} and (B, {', '.join(map(str, shape))})"
            )
        if statistics is not None:
            x = np.minimum(np.maximum((x - statistics.mean) / statistics.std, -statistics.clip), statistics.clip)
        flat = np.ascontiguousarray(x.reshape(batch, self._inputs), np.float32)
        line = flat.reshape(-1)
        if math.isnan(line.dot(line)):
            raise ValueError("observation: got NaN, allowed are numbers")
        return flat

    def _values(self, x: Floats) -> Floats:
        """The outputs (B, n_out) of the head for ``x`` (B, n)."""
        batch, network = len(x), self.network
        if batch != self._batch:
            if self._traces:
                raise ValueError(
                    f"observation: got {batch} of them, allowed are {self._batch}, as before; call reset()"
                )
            self._prepared, self._batch = prepare(network.layers, network.decoder, batch, self._kernel), batch
        prepared = self._prepared
        assert prepared is not None
        if network.memory is None:
            prepared.decide(encode(network.code, x, len(network.decoder)), False)
            latent = prepared.out
        else:
            latent = self._remembered(x, prepared)
        return latent @ self._head + network.head.bias

    def _remembered(self, x: Floats, prepared: Prepared) -> Floats:
        """Leaky integrators of spikes (B, n), of a decision of one step that goes on from the last one."""
        memory = self.network.memory
        assert memory is not None
        carry = bool(self._traces)
        if not carry:
            self._traces = [np.zeros_like(x) for _ in memory.dendrites] + [np.zeros_like(prepared.out)]
        changes = [x]
        for (decay, gain), trace in zip(memory.dendrites, self._traces, strict=False):
            trace[:] = decay * trace + gain * x
            changes.append(memory.factor * (x - trace))
        prepared.decide(np.concatenate(changes, 1)[None], carry)
        decay, gain = memory.readout
        self._traces[-1] = decay * self._traces[-1] + gain * prepared.out
        for layer, state in zip(self.network.layers, prepared.states, strict=True):
            if layer.rest:  # the policy keeps membranes as their distance from rest, which rounds
                membranes = state[: layer.flags[0]]
                membranes[:] = (membranes - layer.rest) + layer.rest
        return self._traces[-1]

    def _chosen(self, values: Floats) -> NDArray[Any]:
        """The actions (B, …) of the head's values (B, n_out)."""
        head, line = self.network.head, values.reshape(-1)
        if math.isnan(line.dot(line)):
            raise ValueError(
                "values of the acting head: got NaN, allowed are finite numbers; the observation is too large"
            )
        if head.kind == "discrete":
            return values.argmax(1)
        if head.kind == "squashed":
            values = np.tanh(values).reshape(-1, *head.low.shape)
            return head.low + 0.5 * (values + 1.0) * (head.high - head.low)  # type: ignore[no-any-return]
        return np.minimum(np.maximum(values.reshape(-1, *head.low.shape), head.low), head.high)  # type: ignore[no-any-return]
