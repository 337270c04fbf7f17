/* A decision of a spiking multi-layer perceptron: the arithmetic of snn4/policies/engine/_event_kernels.py, in its order.
 *
 * Only inputs that are not zero and neurons that spike cost synaptic work: each adds its row of weights, or the present
 * ones of a sparse layer, to the currents of the next layer. No sum is computed in another order than there, so spikes are the same. */

#include <stdint.h>
#include <string.h>

typedef struct {
    int64_t inputs, width, membranes, synapse, adaptive, hard;
    float syn_decay, syn_gain, threshold, v_reset, adaptation, adapt_decay, rest;
    const float *weights; /* (inputs, width) */
    const float *bias;    /* (width) */
    const float *decay, *gain, *leak; /* (membranes, width) */
    float *state; /* (rows, batch, width): membranes, then synapse, then adaptation */
    const uint64_t *starts, *targets; /* compressed rows of a sparse layer; null for others */
    const float *values;
} Layer;

static void at_rest(const Layer *l, int64_t batch) {
    int64_t membranes = l->membranes * batch * l->width;
    for (int64_t m = 0; m < membranes; m++) l->state[m] = l->rest;
    memset(l->state + membranes, 0, sizeof(float) * (size_t)((l->synapse + l->adaptive) * batch * l->width));
}

static void drive(const Layer *l, const float *x, float *restrict current) {
    memcpy(current, l->bias, sizeof(float) * (size_t)l->width);
    for (int64_t j = 0; j < l->inputs; j++) {
        const float value = x[j], *restrict row = l->weights + j * l->width;
        if (value == 0) continue;
        if (l->starts) {
            for (uint64_t k = l->starts[j]; k < l->starts[j + 1]; k++) current[l->targets[k]] += value * l->values[k];
            continue;
        }
        for (int64_t m = 0; m < l->width; m++) current[m] += value * row[m];
    }
}

static void receive(const Layer *l, const int64_t *spiking, int64_t count, float *restrict current) {
    memcpy(current, l->bias, sizeof(float) * (size_t)l->width);
    for (int64_t e = 0; e < count; e++) {
        if (l->starts) {
            const uint64_t end = l->starts[spiking[e] + 1];
            for (uint64_t k = l->starts[spiking[e]]; k < end; k++) current[l->targets[k]] += l->values[k];
            continue;
        }
        const float *restrict row = l->weights + spiking[e] * l->width;
        for (int64_t m = 0; m < l->width; m++) current[m] += row[m];
    }
}

/* One step of neurons with one membrane and a constant threshold, in one pass. */
static int64_t simple_step(const Layer *l, const float *restrict current, float *restrict v, int64_t *restrict emitted) {
    const float *restrict decay = l->decay, *restrict gain = l->gain, *restrict leak = l->leak;
    const float threshold = l->threshold, v_reset = l->v_reset;
    const int64_t hard = l->hard;
    int64_t count = 0;
    for (int64_t m = 0; m < l->width; m++) v[m] = decay[m] * v[m] + (gain[m] * current[m] + leak[m]);
    for (int64_t m = 0; m < l->width; m++) {
        emitted[count] = m;
        count += v[m] - threshold >= 0;
    }
    for (int64_t e = 0; e < count; e++) v[emitted[e]] = hard ? v_reset : v[emitted[e]] - threshold;
    return count;
}

/* One step of any neurons: the number of spikes, whose indices are written to emitted. */
static int64_t step(const Layer *l, float *restrict current, int64_t batch, int64_t b, int64_t *restrict emitted) {
    const int64_t n = l->width, stride = batch * n;
    float *v = l->state + b * n, *row = v + l->membranes * stride;
    if (l->synapse) {
        for (int64_t m = 0; m < n; m++) current[m] = row[m] = l->syn_decay * row[m] + l->syn_gain * current[m];
        row += stride;
    }
    if (l->membranes == 1 && !l->adaptive) return simple_step(l, current, v, emitted);
    float *a = l->adaptive ? row : v;
    for (int64_t k = 0; k < l->membranes; k++) {
        const float *decay = l->decay + k * n, *gain = l->gain + k * n, *leak = l->leak + k * n;
        float *vk = v + k * stride;
        for (int64_t m = 0; m < n; m++) vk[m] = decay[m] * vk[m] + (gain[m] * current[m] + leak[m]);
    }
    int64_t count = 0;
    for (int64_t m = 0; m < n; m++) {
        float u = v[m];
        for (int64_t k = 1; k < l->membranes; k++) u += v[k * stride + m];
        if (l->membranes > 1) u = u / (float)l->membranes;
        const float threshold = l->adaptive ? l->threshold + l->adaptation * a[m] : l->threshold;
        const int fired = u - threshold >= 0;
        if (fired) {
            emitted[count++] = m;
            for (int64_t k = 0; k < l->membranes; k++) {
                float *w = v + k * stride + m;
                *w = l->hard ? l->v_reset : *w - l->threshold;
            }
        }
        if (l->adaptive) a[m] = l->adapt_decay * a[m] + (fired ? 1.0f : 0.0f);
    }
    return count;
}

/* signal: (rows, batch, inputs) with as many rows as steps, or one for all of them. out: (batch, width of the last
 * layer), the sum of the decoder's weights of its spikes. current: (2, widest layer). emitted: (2, widest layer). */
void snn4_decide(const Layer *layers, int64_t count, int64_t steps, int64_t batch, const float *signal, int64_t rows,
                 const float *decoder, float *out, float *current, int64_t *emitted, int64_t widest, int64_t carry) {
    const Layer *first = layers, *last = layers + count - 1;
    float *constant = current + widest;
    memset(out, 0, sizeof(float) * (size_t)(batch * last->width));
    for (int64_t i = 0; i < count && !carry; i++) at_rest(layers + i, batch);
    for (int64_t b = 0; b < batch; b++) {
        if (rows == 1) drive(first, signal + b * first->inputs, constant);
        for (int64_t t = 0; t < steps; t++) {
            int64_t spikes = 0, *spiking = emitted, *next = emitted + widest;
            for (const Layer *l = first; l <= last; l++) {
                if (l > first) receive(l, spiking, spikes, current);
                else if (rows == 1) memcpy(current, constant, sizeof(float) * (size_t)l->width);
                else drive(l, signal + (t * batch + b) * l->inputs, current);
                spikes = step(l, current, batch, b, next);
                int64_t *swap = spiking;
                spiking = next;
                next = swap;
            }
            for (int64_t e = 0; e < spikes; e++) out[b * last->width + spiking[e]] += decoder[t];
        }
    }
}
