"""Loihi's integers, computed by whole arrays, are those of a neuron after the other in Python's whole numbers."""

import numpy as np
import pytest

from snn4.policies.export.integer import IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons, simulate


class Neuron:
    """One neuron, one step after the other."""

    def __init__(self, neurons, bias):
        self.neurons, self.mantissa, self.u, self.v, self.t = neurons, bias, 0, 0, 0

    def step(self, current, bias=None):
        n = self.neurons
        self.t += 1
        if n.reset_interval and self.t % n.reset_interval == n.reset_offset % n.reset_interval:
            self.u = self.v = 0
        mantissa = int(self.mantissa if bias is None else bias)
        bias = mantissa * 2**n.bias_exp if n.bias_exp >= 0 else mantissa // 2**-n.bias_exp
        self.u = toward_zero(self.u * (4096 - (n.du + 1))) + int(current) * 64
        if self.u > 2**23:
            self.u -= 2**24
        elif self.u <= -(2**23):
            self.u += 2**24
        self.v = toward_zero(self.v * (4096 - n.dv)) + self.u + bias
        self.v = max(-(2**23) + 1, min(2**23 - 1, self.v))
        spike = self.v > n.vth * 64
        if spike:
            self.v = 0
        return spike


def toward_zero(product):
    return product // 4096 if product >= 0 else -(-product // 4096)


def stored(dense):
    """Weights of a chip, one after the other."""
    values = [int(w) for w in dense.weight.flat]
    sign = dense.sign
    if sign == "inferred":
        sign = "excitatory" if min(values) >= 0 else "inhibitory" if max(values) <= 0 else "mixed"
    least, largest = (-256, 255) if sign == "mixed" else (0, 255)
    factor, step = -1 if sign == "inhibitory" else 1, 2 ** (8 - dense.bits + (sign == "mixed"))
    return [factor * (max(least, min(largest, factor * w)) // step * step) for w in values]


def dense_currents(dense, received):
    weight, x = stored(dense), [int(value) for value in received.ravel()]
    x = x if dense.message_bits else [int(value != 0) for value in x]
    sums = [sum(w * s for w, s in zip(weight[i : i + len(x)], x, strict=True)) for i in range(0, len(weight), len(x))]
    return np.array([s * 2**dense.exponent if dense.exponent > 0 else s // 2**-dense.exponent for s in sums])


def conv_currents(conv, received):
    """A sum for each output pixel."""
    w, (H, W) = conv.weight, received.shape[1:]
    x = received if conv.message_bits else received != 0
    sides = [
        (size + 2 * conv.padding[i] - conv.dilation[i] * (w.shape[2 + i] - 1) - 1) // conv.stride[i] + 1
        for i, size in enumerate((H, W))
    ]
    out = np.zeros((len(w), *sides), int)
    for c, i, j in np.ndindex(out.shape):
        first = c // (len(w) // conv.groups) * w.shape[1]
        for k, a, b in np.ndindex(w.shape[1:]):
            row = i * conv.stride[0] + a * conv.dilation[0] - conv.padding[0]
            column = j * conv.stride[1] + b * conv.dilation[1] - conv.padding[1]
            if 0 <= row < H and 0 <= column < W:
                out[c, i, j] += int(w[c, k, a, b]) * int(x[first + k, row, column])
    return out


def slow(layers, steps, messages, bias=None):
    """Spikes, u and v of each layer at each step, for one sample, with the delays of the synapses."""
    neurons = [
        [Neuron(layer.neurons, b) for b in np.broadcast_to(layer.neurons.bias_mant, layer.neurons.shape).flat]
        for layer in layers
    ]
    buffers = [np.zeros(layer.neurons.shape, int) for layer in layers]
    trace = [([], [], []) for _ in layers]
    for t in range(steps):
        received = None if messages is None else messages[t]
        for number, layer in enumerate(layers):
            currents, biases = buffers[number], [None] * len(neurons[number])
            if layer.synapses is None and bias is not None:
                biases = bias[t].ravel()
            spikes = [n.step(i, b) for n, i, b in zip(neurons[number], currents.flat, biases, strict=True)]
            if layer.synapses is not None:
                compute = dense_currents if isinstance(layer.synapses, IntegerDense) else conv_currents
                buffers[number] = compute(layer.synapses, received)
            received = np.array(spikes).reshape(layer.neurons.shape)
            states = spikes, [n.u for n in neurons[number]], [n.v for n in neurons[number]]
            for kept, values in zip(trace[number], states, strict=True):
                kept.append(np.array(values).reshape(layer.neurons.shape))
    return trace


def random_neurons(rng, shape, scale):
    reset = int(rng.integers(5, 12)) if rng.random() < 0.5 else 0
    return IntegerNeurons(
        shape, vth=int(rng.integers(1, 2 * scale)), dv=int(rng.choice([0, 1, 200, 2048, 4095, 4096])),
        du=int(rng.choice([0, 400, 4095])), bias_mant=rng.integers(-4096, 4096, shape),
        bias_exp=int(rng.integers(-3, 8)), reset_interval=reset, reset_offset=int(rng.integers(0, 20)),
    )  # fmt: skip


def random_dense(rng, n_in, n_out):
    low, high = [(-300, 300), (0, 300), (-300, 1)][rng.integers(3)]
    return IntegerDense(
        rng.integers(low, high, (n_out, n_in)), exponent=int(rng.integers(-3, 4)), bits=int(rng.choice([4, 6, 8])),
        sign=str(rng.choice(["inferred", "inferred", "mixed"])), message_bits=int(rng.choice([0, 8])),
    )  # fmt: skip


def agree(layers, steps, messages=None, bias=None):
    fast = simulate(layers, steps, messages, bias, delays=True)
    sample = None if messages is None else messages[:, 0]
    reference = slow(layers, steps, sample, None if bias is None else bias[:, 0])
    for trace, kept in zip(fast, reference, strict=True):
        for a, b in zip(trace, kept, strict=True):
            np.testing.assert_array_equal(a[:, 0], np.array(b))
    return fast


@pytest.mark.parametrize("seed", range(20))
def test_dense_chains(seed):
    rng = np.random.default_rng(seed)
    layers = [
        IntegerLayer("a", random_dense(rng, 6, 8), random_neurons(rng, (8,), 300)),
        IntegerLayer("b", random_dense(rng, 8, 5), random_neurons(rng, (5,), 300)),
    ]
    agree(layers, 40, rng.integers(-3, 4, (40, 2, 6)) * (rng.random((40, 2, 6)) < 0.5))


@pytest.mark.parametrize("seed", range(4))
def test_convolutions_then_dense(seed):
    rng = np.random.default_rng(seed)
    conv = IntegerConv(rng.integers(-256, 256, (4, 1, 3, 2)), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
    layers = [
        IntegerLayer("conv", conv, random_neurons(rng, (4, 3, 6), 200)),
        IntegerLayer("dense", random_dense(rng, 72, 3), random_neurons(rng, (3,), 200)),
    ]
    agree(layers, 12, (rng.random((12, 2, 2, 5, 4)) < 0.4).astype(int))


def test_biases_drive_neurons_without_synapses_and_change_from_step_to_step():
    rng = np.random.default_rng(0)
    layers = [
        IntegerLayer("a", None, IntegerNeurons((6,), vth=500, dv=100, bias_exp=5)),
        IntegerLayer("b", random_dense(rng, 6, 4), IntegerNeurons((4,), vth=200, dv=0, du=1000)),
    ]
    traces = agree(layers, 30, bias=rng.integers(-500, 4096, (30, 3, 6)))
    assert 0 < traces[0].spikes.mean() < 1


def test_currents_wrap_and_membranes_saturate():
    layers = [IntegerLayer("a", IntegerDense(np.full((2, 700), 254)), IntegerNeurons((2,), vth=131071))]
    (trace,) = agree(layers, 5, np.ones((5, 1, 700), int))
    assert (trace.u < 0).any()
    assert trace.v.min() == 1 - 2**23


def test_without_delays_a_layer_does_the_same_earlier():
    rng = np.random.default_rng(3)
    neurons = IntegerNeurons((8,), vth=300, dv=200)
    layers = [IntegerLayer(name, IntegerDense(rng.integers(-200, 256, (8, 8))), neurons) for name in "abc"]
    messages = (rng.random((20, 2, 8)) < 0.5).astype(int)
    at_once = simulate(layers, 20, messages)
    padded = np.concatenate([messages, np.zeros((3, 2, 8), int)])
    later = simulate(layers, 23, padded, delays=True)
    for k, (a, b) in enumerate(zip(at_once, later, strict=True), 1):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y[k : k + 20])
