// Family `template_correlation`: CUDA twin of compute/src/cpu/template_correlation.rs. Contract:
// compute/src/ops/template_correlation.rs.
//
// A tile's transform is multiplied with a template's while columns of it are brought to shared memory and transformed
// back; only rows that hold places are written. Then each pair of rows of a tile is transformed back for one template after
// the other, and the best so far of every place stays in shared memory. The rows between, of a few templates at a time,
// are meant to stay in the second-level cache.

#include "device_code.cuh"
#include "transform.cuh"

// The same struct stands in template_correlation.rs.
struct CorrelationShape {
    LinePlan plan;
    int n;                // edge of a tile, pixels
    int tiles;
    int first_y, first_x; // first place
    int rows;             // rows of places; even
    int columns;          // columns of places
    int in_bank;          // the launch's first template in the bank's array
    int template_before;  // its number
    int templates;        // of the launch
    int at_once;          // columns, or pairs of rows, in a block
};

// A block: some columns of one tile with one template.
extern "C" __global__ void correlation_columns(
    float2* rows,         // [templates][tiles][rows][n/2 + 1]
    const float2* tiles,  // [tiles][n][n/2 + 1]
    const float2* bank,   // [...][n][n/2 + 1]
    const float2* roots,  // [n]
    CorrelationShape shape) {
    SHARED_ARRAY(float2, correlation_tile);
    const int n = shape.n, width = n / 2 + 1;
    const int first = blockIdx.x * shape.at_once;
    const int columns = min(shape.at_once, width - first);
    const LineTile layout = {columns, columns, 1};
    const float2* tile = tiles + (long long)blockIdx.y * n * width;
    const float2* entry = bank + (long long)(shape.in_bank + blockIdx.z) * n * width;
    for (int i = threadIdx.x; i < columns * n; i += blockDim.x) {
        const int y = (unsigned)i / (unsigned)columns, at = y * width + first + i - y * columns;
        float2 conjugate = entry[at];
        conjugate.y = -conjugate.y;
        correlation_tile[i] = exchanged(product(tile[at], conjugate));
    }
    const float2* results =
        transform_tile(correlation_tile, correlation_tile + shape.at_once * n, shape.plan, layout, roots);
    const int inside = min(shape.rows, n - shape.first_y);
    float2* target = rows + ((long long)blockIdx.z * shape.tiles + blockIdx.y) * shape.rows * width;
    for (int i = threadIdx.x; i < columns * inside; i += blockDim.x) {
        const int y = (unsigned)i / (unsigned)columns, column = i - y * columns;
        target[(long long)y * width + first + column] = exchanged(results[(shape.first_y + y) * columns + column]);
    }
}

// Reads a pair of rows, one template's, for the way back, parts exchanged. A row after the tile's last is 0.
__device__ static inline void load_correlation_pairs(
    float2* lines, const float2* rows, const CorrelationShape& shape, int first, int pairs) {
    const int n = shape.n, width = n / 2 + 1;
    for (int i = threadIdx.x; i < pairs * width; i += blockDim.x) {
        const int pair = (unsigned)i / (unsigned)width, q = i - pair * width;
        const int row = 2 * (first + pair);
        float2 a = rows[(long long)row * width + q], b = make_float2(0.0f, 0.0f);
        if (shape.first_y + row + 1 < n) b = rows[(long long)(row + 1) * width + q];
        // what a real row cannot have
        if (q == 0 || 2 * q == n) a.y = b.y = 0.0f;
        float2* line = lines + pair * n;
        line[q] = exchanged(pair_at(a, b));
        if (q > 0 && 2 * q < n) line[n - q] = exchanged(pair_at_mate(a, b));
    }
}

// A block: some pairs of rows of one tile, with all templates of the launch.
extern "C" __global__ void correlation_best(
    float* score,         // [tiles][rows][columns]: best so far
    int* which,           // and whose it is
    const float2* rows,   // [templates][tiles][rows][n/2 + 1]
    const float* scales,  // of all templates
    const float2* roots,  // [n]
    CorrelationShape shape) {
    SHARED_ARRAY(float2, correlation_tile);
    const int n = shape.n, columns = shape.columns, width = n / 2 + 1;
    const int first = blockIdx.x * shape.at_once;
    const int pairs = min(shape.at_once, shape.rows / 2 - first);
    const int places = 2 * pairs * columns;
    const LineTile layout = {pairs, 1, n};
    float2* values = correlation_tile;
    float2* spare = values + shape.at_once * n;
    // each place is one thread's alone
    float* best = (float*)(spare + shape.at_once * n);
    int* best_of = (int*)(best + 2 * shape.at_once * columns);
    const long long before = ((long long)blockIdx.y * shape.rows + 2 * first) * columns;
    for (int i = threadIdx.x; i < places; i += blockDim.x) {
        best[i] = shape.template_before == 0 ? __uint_as_float(0xff800000u) : score[before + i];
        best_of[i] = shape.template_before == 0 ? 0 : which[before + i];
    }
    const float inverse_points = (float)(1.0 / ((double)n * n));
    for (int t = 0; t < shape.templates; t++) {
        const float2* source = rows + ((long long)t * shape.tiles + blockIdx.y) * shape.rows * width;
        load_correlation_pairs(values, source, shape, first, pairs);
        const float2* results = transform_tile(values, spare, shape.plan, layout, roots);
        const float scale = scales[shape.template_before + t];
        for (int i = threadIdx.x; i < places; i += blockDim.x) {
            const int row = (unsigned)i / (unsigned)columns, x = i - row * columns;
            const float2 pixel = results[(row / 2) * n + shape.first_x + x];
            const float value = (row % 2 ? pixel.x : pixel.y) * inverse_points * scale;
            if (value > best[i]) {
                best[i] = value;
                best_of[i] = shape.template_before + t;
            }
        }
        // the next template's rows must not be written over what others still read
        if (results == values) {
            values = spare;
            spare = (float2*)results;
        }
    }
    for (int i = threadIdx.x; i < places; i += blockDim.x) {
        score[before + i] = best[i];
        which[before + i] = best_of[i];
    }
}
