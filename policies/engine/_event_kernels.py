"""numba kernels of event-driven acting: decisions of a spiking multi-layer perceptron, and single layers.

Only non-zero inputs and spiking neurons cost synaptic work: each adds its row of weights (in, out) to the current of
the next layer. The rows of a sparse layer hold its present synapses alone: those of presynaptic neuron j are numbers
``starts[j]`` to ``starts[j + 1]`` of ``targets`` and ``values`` (compressed sparse rows). Neurons are updated with the
operations of `_scan_kernels`, in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

SOFT, HARD = 0, 1
MEMBRANES, SYNAPSE, ADAPTIVE, RESET = range(4)
SYN_DECAY, SYN_GAIN, THRESHOLD, V_RESET, ADAPTATION, ADAPT_DECAY = range(6)


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def decide(
    signal: Any, steps: int, weights: Any, starts: Any, targets: Any, values: Any, biases: Any, decays: Any,
    gains: Any, leaks: Any, constants: Any, flags: Any, states: Any, decoder: Any, out: Any, record: Any,
) -> None:  # fmt: skip
    """Run the network, and add the weight in ``decoder`` (T,) of every spike of the last layer to ``out`` (B, n).

    Args:
        signal: (T, B, n) input values, or (1, B, n) values for all steps.
        weights, biases: (in, out) and (out,) per layer.
        starts, targets, values: (in + 1,), (n,) and (n,) per sparse layer; empty for layers that use ``weights``.
        decays, gains, leaks: (membranes, out) per layer.
        constants, flags: (layers, 6) and (layers, 4), indexed by the names above.
        states: (rows, B, out) per layer: membranes, then synapse, then adaptation; updated in place.
        record: (T, B, out) per layer, which is filled with spikes; or (0, 0, 0) for none.
    """
    width = 0
    for bias in biases:
        width = max(width, len(bias))
    current = np.empty(width, np.float32)
    constant = np.empty(len(biases[0]), np.float32)
    emitted = np.empty((2, width), np.int64)
    for b in range(signal.shape[1]):
        if len(signal) == 1:
            _drive(signal[0, b], weights[0], starts[0], targets[0], values[0], biases[0], constant)
        for t in range(steps):
            count, side = 0, 0
            for layer in range(len(weights)):
                n = len(biases[layer])
                c = current[:n]
                if layer > 0:
                    c[:] = biases[layer]
                    _receive(c, weights[layer], starts[layer], targets[layer], values[layer], emitted[side, :count])
                elif len(signal) == 1:
                    c[:] = constant
                else:
                    _drive(signal[t, b], weights[0], starts[0], targets[0], values[0], biases[0], c)
                side = 1 - side
                count = _step(
                    c, states[layer][:, b], decays[layer], gains[layer], leaks[layer], constants[layer], flags[layer],
                    emitted[side],
                )  # fmt: skip
                if len(record[layer]):
                    for e in range(count):
                        record[layer][t, b, emitted[side, e]] = True
            for e in range(count):
                out[b, emitted[side, e]] += decoder[t]


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def refresh(weights: Any, seen: Any, rows: Any, vectors: Any) -> tuple[bool, bool]:
    """Copy ``weights`` (out, in) that differ from ``seen`` to ``seen`` and, transposed, to ``rows``.

    Returns whether weights and ``vectors`` (n,) are finite, and whether a weight differed. Weights that are not finite
    are not copied, so the next call detects them again.
    """
    finite, changed = True, False
    for vector in vectors:
        for value in vector:
            finite &= np.isfinite(value)
    for layer in range(len(weights)):
        weight, old = weights[layer], seen[layer]
        row = rows[layer]
        for o in range(len(weight)):
            now, before = weight[o], old[o]
            differ = False
            for i in range(len(now)):
                differ |= now[i] != before[i]
            if not differ:
                continue
            changed = True
            if np.isfinite(now).all():
                before[:] = now
                row[:, o] = now
            else:
                finite = False
    return finite, changed


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _drive(signal: Any, weight: Any, starts: Any, targets: Any, values: Any, bias: Any, current: Any) -> None:
    current[:] = bias
    for j in range(len(signal)):
        x = signal[j]
        if x == 0:
            continue
        if len(starts):
            for k in range(starts[j], starts[j + 1]):
                current[targets[k]] += x * values[k]
        else:
            _add_scaled(current, weight[j], x)


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _receive(current: Any, weight: Any, starts: Any, targets: Any, values: Any, spiking: Any) -> None:
    """Add the synapses of the neurons with indices ``spiking``."""
    if len(starts) == 0:
        for j in spiking:
            _add(current, weight[j])
        return
    for j in spiking:
        for k in range(starts[j], starts[j + 1]):
            current[targets[k]] += values[k]


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _add(current: Any, row: Any) -> None:
    for m in range(len(current)):
        current[m] += row[m]


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _step(current: Any, state: Any, decay: Any, gain: Any, leak: Any, c: Any, flag: Any, emitted: Any) -> int:
    """One step of a layer of neurons; returns the number of spikes, and writes their indices to ``emitted``."""
    n, membranes = len(current), flag[MEMBRANES]
    row = membranes
    if flag[SYNAPSE]:
        i = state[row]
        for m in range(n):
            i[m] = c[SYN_DECAY] * i[m] + c[SYN_GAIN] * current[m]
            current[m] = i[m]
        row += 1
    a = state[row if flag[ADAPTIVE] else 0]
    for k in range(membranes):
        v = state[k]
        for m in range(n):
            v[m] = decay[k, m] * v[m] + (gain[k, m] * current[m] + leak[k, m])
    count, parts = 0, np.float32(membranes)
    for m in range(n):
        u = state[0, m]
        for k in range(1, membranes):
            u += state[k, m]
        if membranes > 1:
            u = u / parts
        threshold = c[THRESHOLD] + c[ADAPTATION] * a[m] if flag[ADAPTIVE] else c[THRESHOLD]
        fired = u - threshold >= 0
        if fired:
            emitted[count] = m
            count += 1
            for k in range(membranes):
                state[k, m] = state[k, m] - c[THRESHOLD] if flag[RESET] == SOFT else c[V_RESET]
        if flag[ADAPTIVE]:
            a[m] = c[ADAPT_DECAY] * a[m] + (np.float32(1.0) if fired else np.float32(0.0))
    return count


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def convolve(
    x: Any, weight: Any, stride_h: int, stride_w: int, pad_h: int, pad_w: int, out: Any, first: int, last: int
) -> None:
    """Add the convolution of images ``first`` to ``last`` of ``x`` (N, H, W, Ci) to ``out`` (N, Ho, Wo, Co).

    Each non-zero value adds its rows of ``weight`` (Ci, kh, kw mirrored, Co) to the outputs that see it. With stride 1,
    these outputs are adjacent within a line. So are their weights, because kw is mirrored: they form one long row.
    """
    _, height, width, channels = x.shape
    _, kernel_h, kernel_w, n = weight.shape
    _, out_h, out_w, _ = out.shape
    lines, rows = out.reshape(len(out), out_h, out_w * n), weight.reshape(channels, kernel_h, kernel_w * n)
    sent = np.empty(channels, np.int64)
    for h in range(height):
        for w in range(width):
            left = w + pad_w - kernel_w + 1
            for b in range(first, last):  # innermost, because similar spikes of one sample share rows in the cache
                pixel, count = x[b, h, w], 0
                for c in range(channels):
                    sent[count] = c
                    count += pixel[c] != 0
                if count == 0:
                    continue
                for i in range(kernel_h):
                    y = h + pad_h - i
                    if y < 0 or y % stride_h != 0 or y // stride_h >= out_h:
                        continue
                    line = lines[b, y // stride_h]
                    if stride_w == 1:
                        low, high = max(left, 0), min(left + kernel_w, out_w)
                        _send(line[low * n : high * n], rows, i, (low - left) * n, pixel, sent, count)
                        continue
                    for z in range(max(left, 0), left + kernel_w):
                        to = z // stride_w
                        if z % stride_w == 0 and to < out_w:
                            _send(line[to * n : to * n + n], rows, i, (z - left) * n, pixel, sent, count)


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, inline="always")  # type: ignore[untyped-decorator]
def _send(target: Any, rows: Any, i: int, start: int, pixel: Any, sent: Any, count: int) -> None:
    """Add the rows (·, i), from ``start`` on, of the ``count`` values of ``pixel`` with indices ``sent`` to ``target``.

    Four rows at a time, because reading and writing the target costs more than the sums.
    """
    n, e = len(target), 0
    while e + 4 <= count:
        j, k = sent[e], sent[e + 1]
        p, q = sent[e + 2], sent[e + 3]
        v, x = pixel[j], pixel[k]
        y, z = pixel[p], pixel[q]
        a, b = rows[j, i, start : start + n], rows[k, i, start : start + n]
        c, d = rows[p, i, start : start + n], rows[q, i, start : start + n]
        for o in range(n):
            target[o] += (v * a[o] + x * b[o]) + (y * c[o] + z * d[o])
        e += 4
    while e < count:
        _add_scaled(target, rows[sent[e], i, start : start + n], pixel[sent[e]])
        e += 1


@njit(cache=True, error_model="numpy", nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _add_scaled(target: Any, row: Any, value: Any) -> None:
    for m in range(len(row)):
        target[m] += value * row[m]


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def multiply(x: Any, weight: Any, out: Any, first: int, last: int) -> None:
    """Add the product of rows ``first`` to ``last`` of ``x`` (N, Ci) with ``weight`` (Ci, Co) to ``out`` (N, Co)."""
    for b in range(first, last):
        for j in range(x.shape[1]):
            value = x[b, j]
            if value != 0:
                _add_scaled(out[b], weight[j], value)


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def count_nonzero(x: Any) -> int:
    """Number of non-zero values of ``x`` (n,); torch's function takes several times as long."""
    count = 0
    for value in x:
        count += value != 0
    return count
