/* Depthwise convolution and the gradient of its weight, of maps in channels-last memory; cpu_kernels.py compiles it.

   LANES channels are computed at a time, or what is left of them. The rows of input that a row of output sees lie packed
   in a ring, with zeros at their sides. Sums run over images and rows in turn: threads do not change them. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, LARGEST = 9 };
typedef float lanes __attribute__((vector_size(sizeof(float) * LANES)));

typedef struct {
    const float *input;             /* (images, height, width, channels) */
    float *output;                  /* (images, out_height, out_width, channels) */
    float *weight;                  /* (channels, kernel, kernel) */
    ptrdiff_t images, height, width, channels, out_height, out_width;
    int kernel, stride, turned, threads; /* turned: the kernel by 180 degrees */
} Convolution;

/* What a thread works on. */
typedef struct {
    ptrdiff_t channel, used;        /* the first one, and how many */
    const lanes *rows[LARGEST];     /* of the input, by row of the kernel */
    lanes *packed;                  /* the ring, after it a row of zeros, then one of the output */
    ptrdiff_t pitch, ready;         /* lanes of a row; rows from the image's top that have been packed */
} Work;

INLINE void pack(lanes *packed, const float *row, ptrdiff_t width, ptrdiff_t channels, ptrdiff_t used)
{
    if (used == LANES)
        for (ptrdiff_t x = 0; x < width; x++) memcpy(packed + x, row + x * channels, sizeof *packed);
    else
        for (ptrdiff_t x = 0; x < width; x++) memcpy(packed + x, row + x * channels, used * sizeof *row);
}

INLINE void show_rows(Work *work, const Convolution *c, ptrdiff_t image, ptrdiff_t y, const int kernel,
                      const int stride)
{
    const ptrdiff_t top = y * stride - kernel / 2;
    const float *input = c->input + image * c->height * c->width * c->channels + work->channel;
    for (; work->ready < top + kernel && work->ready < c->height; work->ready++)
        if (work->ready >= top)
            pack(work->packed + work->ready % kernel * work->pitch + kernel / 2,
                 input + work->ready * c->width * c->channels, c->width, c->channels, work->used);
    for (int i = 0; i < kernel; i++) {
        const ptrdiff_t row = top + i, slot = row < 0 || row >= c->height ? kernel : row % kernel;
        work->rows[i] = work->packed + slot * work->pitch;
    }
}

/* Set some neighbouring outputs. */
INLINE void convolve_columns(const Work *work, const lanes *weights, float *output, ptrdiff_t x, ptrdiff_t channels,
                             const int kernel, const int columns)
{
    lanes sums[columns];
    for (int u = 0; u < columns; u++) sums[u] = (lanes){0};
    for (int i = 0; i < kernel; i++)
#pragma GCC unroll 9
        for (int j = 0; j < kernel; j++)
#pragma GCC unroll 8
            for (int u = 0; u < columns; u++) sums[u] += weights[i * kernel + j] * work->rows[i][x + u + j];
    for (int u = 0; u < columns; u++) {
        if (work->used == LANES) memcpy(output + (x + u) * channels, sums + u, sizeof *sums);
        else memcpy(output + (x + u) * channels, sums + u, work->used * sizeof *output);
    }
}

/* Convolve some channels of an image with stride 1. */
INLINE void convolve(const Convolution *c, Work work, ptrdiff_t image, const int kernel)
{
    const int taps = kernel * kernel;
    lanes weights[taps];
    memset(weights, 0, sizeof weights);
    for (int tap = 0; tap < taps; tap++)
        for (int lane = 0; lane < work.used; lane++)
            weights[c->turned ? taps - 1 - tap : tap][lane] = c->weight[(work.channel + lane) * taps + tap];
    for (ptrdiff_t y = 0; y < c->out_height; y++) {
        show_rows(&work, c, image, y, kernel, 1);
        float *output = c->output + (image * c->out_height + y) * c->out_width * c->channels + work.channel;
        ptrdiff_t x = 0;
        for (; x + 8 <= c->out_width; x += 8) convolve_columns(&work, weights, output, x, c->channels, kernel, 8);
        for (; x < c->out_width; x++) convolve_columns(&work, weights, output, x, c->channels, kernel, 1);
    }
}

/* Add what some neighbouring outputs give to a row of taps. */
INLINE void add_columns(lanes *sums, const lanes *outputs, const lanes *inputs, const int kernel, const int stride,
                        const int columns)
{
#pragma GCC unroll 4
    for (int u = 0; u < columns; u++)
#pragma GCC unroll 9
        for (int j = 0; j < kernel; j++) sums[j] += outputs[u] * inputs[u * stride + j];
}

/* Set the gradient of some channels' weights, from that of the output. */
INLINE void differentiate(const Convolution *c, Work work, const int kernel, const int stride)
{
    const int taps = kernel * kernel;
    lanes total[taps], *outputs = work.packed + (kernel + 1) * work.pitch;
    memset(total, 0, sizeof total);
    for (ptrdiff_t row = 0; row < c->images * c->out_height; row++) {
        const ptrdiff_t image = row / c->out_height, y = row % c->out_height;
        if (y == 0) work.ready = 0;
        show_rows(&work, c, image, y, kernel, stride);
        pack(outputs, c->output + row * c->out_width * c->channels + work.channel, c->out_width, c->channels, work.used);
        for (int i = 0; i < kernel; i++) {
            lanes sums[kernel];
            for (int j = 0; j < kernel; j++) sums[j] = (lanes){0};
            ptrdiff_t x = 0;
            for (; x + 4 <= c->out_width; x += 4)
                add_columns(sums, outputs + x, work.rows[i] + x * stride, kernel, stride, 4);
            for (; x < c->out_width; x++)
                add_columns(sums, outputs + x, work.rows[i] + x * stride, kernel, stride, 1);
            for (int j = 0; j < kernel; j++) total[i * kernel + j] += sums[j];
        }
    }
    for (int lane = 0; lane < work.used; lane++)
        for (int tap = 0; tap < taps; tap++) c->weight[(work.channel + lane) * taps + tap] = total[tap][lane];
}

/* Do an item of work; return 1 for what is not compiled. */
static int run(const Convolution *c, Work work, ptrdiff_t item, int differentiated)
{
    const ptrdiff_t blocks = (c->channels + LANES - 1) / LANES;
    work.channel = item % blocks * LANES;
    work.used = c->channels - work.channel < LANES ? c->channels - work.channel : LANES;
    switch (100 * differentiated + 10 * c->kernel + c->stride) {
        case 31: convolve(c, work, item / blocks, 3); break;
        case 51: convolve(c, work, item / blocks, 5); break;
        case 71: convolve(c, work, item / blocks, 7); break;
        case 91: convolve(c, work, item / blocks, 9); break;
        case 131: differentiate(c, work, 3, 1); break;
        case 132: differentiate(c, work, 3, 2); break;
        case 151: differentiate(c, work, 5, 1); break;
        case 152: differentiate(c, work, 5, 2); break;
        case 171: differentiate(c, work, 7, 1); break;
        case 172: differentiate(c, work, 7, 2); break;
        case 191: differentiate(c, work, 9, 1); break;
        case 192: differentiate(c, work, 9, 2); break;
        default: return 1;
    }
    return 0;
}

static int for_all(const Convolution *c, int differentiated)
{
    const ptrdiff_t blocks = (c->channels + LANES - 1) / LANES, items = differentiated ? blocks : blocks * c->images;
    const ptrdiff_t pitch = c->width + c->kernel;  /* as wide as a row of the output, too */
    const size_t size = (c->kernel + 2) * pitch * sizeof(lanes);
    int failed = 0;
#pragma omp parallel for num_threads(c->threads) schedule(static) reduction(|:failed)
    for (int thread = 0; thread < c->threads; thread++) {
        Work work = {.packed = aligned_alloc(sizeof(lanes), size), .pitch = pitch};
        if (!work.packed) { failed = 1; continue; }
        memset(work.packed, 0, size);
        for (ptrdiff_t item = items * thread / c->threads; item < items * (thread + 1) / c->threads; item++)
            failed |= run(c, work, item, differentiated);
        free(work.packed);
    }
    return failed;
}

/* Both return 0, or 1 without memory, and for a kernel or a stride that is not compiled. */
int depthwise_forward(const Convolution *c) { return for_all(c, 0); }
int depthwise_gradient(const Convolution *c) { return for_all(c, 1); }
