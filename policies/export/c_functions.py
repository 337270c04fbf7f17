"""The functions of an exported C file, which are the same for every network; NAME stands for its name."""

from __future__ import annotations

ROUND = """\
/* The nearest whole number, halves to the even one, within the 13 bits of a bias. */
static int16_t NAME_rounded(NAME_real x) {
    if (x >= 4095) return 4095;
    if (!(x > -4095)) return -4095; /* also for NaN */
    int16_t n = (int16_t)x;
    NAME_real rest = x - n;
    if (rest > 0.5 || (rest == 0.5 && n % 2)) return (int16_t)(n + 1);
    if (rest < -0.5 || (rest == -0.5 && n % 2)) return (int16_t)(n - 1);
    return n;
}
"""

NEURONS = """\
/* One step of n neurons: v = trunc(v * keep / 4096) + scale * current + bias; a spike where v > threshold resets v.
 * One bias serves `shared` neurons in a row; v saturates at 24 bits. */
static void NAME_neurons(int n, const int32_t *current, int32_t scale, const int16_t *bias, int shared,
                         int32_t bias_scale, int32_t keep, int32_t threshold, int32_t *v, uint8_t *spikes) {
    for (int first = 0; first < n; first += shared) {
        int32_t constant = bias_scale * *bias++;
        for (int i = first; i < first + shared; i++) {
            int32_t size = (int32_t)(((int64_t)(v[i] < 0 ? -v[i] : v[i]) * keep) >> 12);
            int32_t next = (v[i] < 0 ? -size : size) + constant;
            if (current) next += scale * current[i];
            if (next > 8388607) next = 8388607;
            if (next < -8388607) next = -8388607;
            spikes[i] = next > threshold;
            v[i] = spikes[i] ? 0 : next;
        }
    }
}
"""

DENSE = """\
/* Each spike adds its row of weights [n_in][n_out] to the currents. */
static void NAME_dense(const uint8_t *spikes, int n_in, const NAME_weight *weights, int n_out, int32_t *current) {
    for (int o = 0; o < n_out; o++) current[o] = 0;
    for (int i = 0; i < n_in; i++, weights += n_out)
        if (spikes[i])
            for (int o = 0; o < n_out; o++) current[o] += weights[o];
}
"""

WINDOWS = """\
/* Sizes of a convolution: images are [channel][row][column]. */
typedef struct {
    int in_channels, in_rows, in_columns, out_channels, out_rows, out_columns, groups;
    int rows, columns, stride_rows, stride_columns, pad_rows, pad_columns, step_rows, step_columns;
} NAME_windows;
"""

CONV = """\
/* Each spike adds its weights [out_channel][in_channel of the group][row][column] where windows see it. */
static void NAME_conv(const uint8_t *spikes, const NAME_weight *weights, const NAME_windows *c, int32_t *current) {
    int ins = c->in_channels / c->groups, outs = c->out_channels / c->groups;
    for (int o = 0; o < c->out_channels * c->out_rows * c->out_columns; o++) current[o] = 0;
    for (int i = 0; i < c->in_channels; i++)
        for (int y = 0; y < c->in_rows; y++)
            for (int x = 0; x < c->in_columns; x++) {
                if (!*spikes++) continue;
                for (int ky = 0; ky < c->rows; ky++) {
                    int down = y + c->pad_rows - ky * c->step_rows, row = down / c->stride_rows;
                    if (down < 0 || down % c->stride_rows || row >= c->out_rows) continue;
                    for (int kx = 0; kx < c->columns; kx++) {
                        int right = x + c->pad_columns - kx * c->step_columns, column = right / c->stride_columns;
                        if (right < 0 || right % c->stride_columns || column >= c->out_columns) continue;
                        for (int k = 0; k < outs; k++) {
                            int o = i / ins * outs + k;
                            current[(o * c->out_rows + row) * c->out_columns + column] +=
                                weights[((o * ins + i % ins) * c->rows + ky) * c->columns + kx];
                        }
                    }
                }
            }
}
"""

HOST_DENSE = """\
/* The observation becomes a constant current of each of the first neurons. */
static void NAME_currents(const float *x) {
    for (int o = 0; o < NAME_DRIVEN; o++) {
        NAME_real sum = 0;
        for (int i = 0; i < NAME_INPUTS; i++) sum += (NAME_real)NAME_host_weights[o * NAME_INPUTS + i] * x[i];
        NAME_observed[o] = NAME_rounded((sum + NAME_host_bias[o]) * (NAME_real)NAME_HOST_FACTOR);
    }
}
"""

HOST_CONV = """\
/* The image becomes a constant current of each of the first neurons. */
static void NAME_currents(const float *x) {
    const NAME_windows *c = &NAME_host_windows;
    int ins = c->in_channels / c->groups, outs = c->out_channels / c->groups;
    int16_t *observed = NAME_observed;
    for (int o = 0; o < c->out_channels; o++)
        for (int row = 0; row < c->out_rows; row++)
            for (int column = 0; column < c->out_columns; column++) {
                NAME_real sum = 0;
                for (int k = 0; k < ins; k++)
                    for (int ky = 0; ky < c->rows; ky++)
                        for (int kx = 0; kx < c->columns; kx++) {
                            int i = o / outs * ins + k, y = row * c->stride_rows + ky * c->step_rows - c->pad_rows;
                            int z = column * c->stride_columns + kx * c->step_columns - c->pad_columns;
                            if (y < 0 || y >= c->in_rows || z < 0 || z >= c->in_columns) continue;
                            sum += (NAME_real)NAME_host_weights[((o * ins + k) * c->rows + ky) * c->columns + kx] *
                                   x[(i * c->in_rows + y) * c->in_columns + z];
                        }
                *observed++ = NAME_rounded((sum + NAME_host_bias[o]) * (NAME_real)NAME_HOST_FACTOR);
            }
}
"""

OBSERVE = """\
/* Gives an observation (NAME_INPUTS values) to the first neurons, for all steps of a decision. */
void NAME_observe(const float *observation) {
    NAME_currents(observation);
}
"""

OBSERVE_NORMALIZED = """\
/* Gives an observation (NAME_INPUTS values), normalised, to the first neurons, for all steps of a decision. */
void NAME_observe(const float *observation) {
    static float x[NAME_INPUTS];
    for (int i = 0; i < NAME_INPUTS; i++) {
        NAME_real value = ((NAME_real)observation[i] - NAME_mean[i / NAME_SHARED]) / NAME_std[i / NAME_SHARED];
LIMITED        x[i] = (float)value;
    }
    NAME_currents(x);
}
"""
LIMITED = """\
        value = value > NAME_LIMIT ? NAME_LIMIT : value < -NAME_LIMIT ? -NAME_LIMIT : value;
"""

THINK = """\
static void NAME_think(const float *observation) {
    NAME_reset();
    NAME_observe(observation);
    for (int t = 0; t < NAME_STEPS; t++) {
RESTARTED        NAME_step();
    }
}
"""

RESTARTED = """\
        if (t == NAME_START) /* the scores do not count the steps before */
            for (int i = 0; i < NAME_OUTPUTS; i++) NAME_READOUT[i] = 0;
"""

DECIDE_DISCRETE = """\
/* Decides on an observation: writes NAME_OUTPUTS scores, and returns the number of the largest. */
int NAME_decide(const float *observation, float *scores) {
    int best = 0;
    NAME_think(observation);
    for (int i = 0; i < NAME_OUTPUTS; i++) {
        scores[i] = (float)(NAME_READOUT[i] * NAME_FACTOR);
        if (NAME_READOUT[i] > NAME_READOUT[best]) best = i;
    }
    return best;
}
"""

DECIDE_CONTINUOUS = """\
/* Decides on an observation: writes the NAME_OUTPUTS values of the action. */
void NAME_decide(const float *observation, float *action) {
    NAME_think(observation);
    for (int i = 0; i < NAME_OUTPUTS; i++) {
        double score = NAME_READOUT[i] * NAME_FACTOR;
        action[i] = (float)(BOUNDED);
    }
}
"""
CLIPPED = "score < NAME_low[i] ? NAME_low[i] : score > NAME_high[i] ? NAME_high[i] : score"
SQUASHED = "NAME_low[i] + 0.5 * (tanh(score) + 1) * (NAME_high[i] - NAME_low[i])"
