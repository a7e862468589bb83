/* Batch norm with activation, forward and backward, of maps in channels-last memory; cpu_kernels.py compiles it.

   A map is cut into parts of neighbouring pixels, whose statistics are merged in their order: the results do not depend
   on the number of threads. Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample
   variances (1979), has the merging of means and squares. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

enum { PART = 256 };

typedef struct {
    const float *x, *of_y, *weight, *bias;                      /* of_y: gradient of the output */
    float *result;                                              /* the output, or the gradient of x */
    float *mean, *inverse, *running_mean, *running_var, *of_weight, *of_bias;
    ptrdiff_t pixels, channels;
    float momentum, eps, lowest, highest;
    int threads;
} Norm;

static inline ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Return 0, or 1 without memory. */
int norm_forward(const Norm *n)
{
    const ptrdiff_t channels = n->channels, pixels = n->pixels, parts = (pixels + PART - 1) / PART;
    float *moments = malloc(2 * parts * channels * sizeof(float));
    double *merged = malloc(2 * channels * sizeof(double));
    if (!moments || !merged) { free(moments); free(merged); return 1; }
#pragma omp parallel for num_threads(n->threads) schedule(static)
    for (ptrdiff_t part = 0; part < parts; part++) {
        const ptrdiff_t from = part * PART, count = min_of(PART, pixels - from);
        const float *x = n->x + from * channels;
        float *restrict mean = moments + 2 * part * channels, *restrict squares = mean + channels;
        memset(mean, 0, 2 * channels * sizeof(float));
        for (ptrdiff_t p = 0; p < count; p++)
            for (ptrdiff_t c = 0; c < channels; c++) mean[c] += x[p * channels + c];
        for (ptrdiff_t c = 0; c < channels; c++) mean[c] /= count;
        for (ptrdiff_t p = 0; p < count; p++)
            for (ptrdiff_t c = 0; c < channels; c++) {
                const float apart = x[p * channels + c] - mean[c];
                squares[c] += apart * apart;
            }
    }
    double *mean = merged, *squares = merged + channels;
    memset(merged, 0, 2 * channels * sizeof(double));
    for (ptrdiff_t part = 0; part < parts; part++) {
        const double before = part * PART, count = min_of(PART, pixels - part * PART), all = before + count;
        const float *of_part = moments + 2 * part * channels;
        for (ptrdiff_t c = 0; c < channels; c++) {
            const double apart = of_part[c] - mean[c];
            mean[c] += apart * count / all;
            squares[c] += of_part[channels + c] + apart * apart * before * count / all;
        }
    }
    for (ptrdiff_t c = 0; c < channels; c++) {
        const float m = n->momentum;
        n->mean[c] = mean[c];
        n->inverse[c] = 1 / sqrt(squares[c] / pixels + n->eps);
        n->running_mean[c] = (1 - m) * n->running_mean[c] + m * (float)mean[c];
        n->running_var[c] = (1 - m) * n->running_var[c] + m * (float)(squares[c] / (pixels - 1));
    }
    free(moments);
    free(merged);
#pragma omp parallel for num_threads(n->threads) schedule(static)
    for (ptrdiff_t part = 0; part < parts; part++) {
        const ptrdiff_t from = part * PART, count = min_of(PART, pixels - from);
        const float *x = n->x + from * channels, *mean = n->mean, *inverse = n->inverse;
        const float *weight = n->weight, *bias = n->bias, lowest = n->lowest, highest = n->highest;
        float *restrict y = n->result + from * channels;
        for (ptrdiff_t p = 0; p < count; p++)
#pragma omp simd
            for (ptrdiff_t c = 0; c < channels; c++) {
                const float value = (x[p * channels + c] - mean[c]) * (inverse[c] * weight[c]) + bias[c];
                const float low = value < lowest ? lowest : value;
                y[p * channels + c] = low > highest ? highest : low;
            }
    }
    return 0;
}

/* Return 0, or 1 without memory. */
int norm_backward(const Norm *n)
{
    const ptrdiff_t channels = n->channels, pixels = n->pixels, parts = (pixels + PART - 1) / PART;
    const float *mean = n->mean, *inverse = n->inverse, *weight = n->weight, *bias = n->bias;
    const float lowest = n->lowest, highest = n->highest;
    float *sums = malloc((2 * parts + 3) * channels * sizeof(float));
    double *merged = calloc(2 * channels, sizeof(double));
    if (!sums || !merged) { free(sums); free(merged); return 1; }
    float *scale = sums + 2 * parts * channels, *constant = scale + channels, *slope = constant + channels;
    for (ptrdiff_t c = 0; c < channels; c++) scale[c] = inverse[c] * weight[c];
#pragma omp parallel for num_threads(n->threads) schedule(static)
    for (ptrdiff_t part = 0; part < parts; part++) {
        const ptrdiff_t from = part * PART, count = min_of(PART, pixels - from);
        const float *x = n->x + from * channels, *of_y = n->of_y + from * channels;
        float *restrict sum = sums + 2 * part * channels, *restrict product = sum + channels;
        memset(sum, 0, 2 * channels * sizeof(float));
        for (ptrdiff_t p = 0; p < count; p++)
#pragma omp simd
            for (ptrdiff_t c = 0; c < channels; c++) {
                const float apart = x[p * channels + c] - mean[c], y = apart * scale[c] + bias[c];
                const float passed = lowest < y && y < highest ? of_y[p * channels + c] : 0;
                sum[c] += passed;
                product[c] += passed * apart;
            }
    }
    for (ptrdiff_t part = 0; part < parts; part++)
        for (ptrdiff_t c = 0; c < 2 * channels; c++) merged[c] += sums[2 * part * channels + c];
    for (ptrdiff_t c = 0; c < channels; c++) {
        n->of_bias[c] = merged[c];
        n->of_weight[c] = merged[channels + c] * inverse[c];
        constant[c] = merged[c] / pixels;
        slope[c] = merged[channels + c] * inverse[c] * inverse[c] / pixels;
    }
#pragma omp parallel for num_threads(n->threads) schedule(static)
    for (ptrdiff_t part = 0; part < parts; part++) {
        const ptrdiff_t from = part * PART, count = min_of(PART, pixels - from);
        const float *x = n->x + from * channels, *of_y = n->of_y + from * channels;
        float *restrict of_x = n->result + from * channels;
        for (ptrdiff_t p = 0; p < count; p++)
#pragma omp simd
            for (ptrdiff_t c = 0; c < channels; c++) {
                const float apart = x[p * channels + c] - mean[c], y = apart * scale[c] + bias[c];
                const float passed = lowest < y && y < highest ? of_y[p * channels + c] : 0;
                of_x[p * channels + c] = scale[c] * (passed - constant[c] - apart * slope[c]);
            }
    }
    free(sums);
    free(merged);
    return 0;
}
