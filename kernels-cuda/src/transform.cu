// Family `transform`: CUDA twin of compute/src/cpu/transform.rs. Contract: compute/src/ops/transform.rs.
//
// An image is transformed along rows, two real rows of it as one complex line, and then along columns, neighbouring
// columns in one block so that memory is read and written in whole sectors. Lines too long for shared memory are of
// length n1 n2: they are transformed along n1 with a stride of n2, multiplied by roots of unity, and then along n2.

#include "device_code.cuh"
#include "transform.cuh"

// Rows of images; the same struct stands in transform/plan.rs.
struct RowShape {
    LinePlan plan;     // of a row
    int ny, nx;        // pixels
    int y0, x0;        // the pixel from which phases count
    int pairs;         // pairs of rows in a block
    float scale;       // of the inverse
};

// Lines of complex numbers, element by element `stride` apart; neighbouring lines, `inner` of them, are 1 apart, groups of
// these `outer`. Of what is read, and of what is written. The same struct stands in transform/plan.rs.
struct LineShape {
    LinePlan plan;     // of the part of a line that is transformed
    int lines;         // of an item
    int inner;
    int from_stride, from_outer, from_item;
    int to_stride, to_outer, to_item;
    int at_once;       // lines in a block
    int whole;         // where a line is a part of a longer one: results are multiplied by roots of unity; else 0
    int exchange_from; // exchange parts of what is read
    int exchange_to;   // and of what is written
};

__device__ static inline float2 zero() { return make_float2(0.0f, 0.0f); }

// Pixel x of the rows 2 pair and 2 pair + 1 of an image whose rows and columns are read from the origin on, cyclically.
__device__ static inline float2 pixels_of_pair(const float* image, const RowShape& shape, int pair, int x) {
    int column = x + shape.x0;
    if (column >= shape.nx) column -= shape.nx;
    int row = 2 * pair + shape.y0;
    if (row >= shape.ny) row -= shape.ny;
    const float first = image[(long long)row * shape.nx + column];
    if (2 * pair + 1 == shape.ny) return make_float2(first, 0.0f);
    row = row + 1 == shape.ny ? 0 : row + 1;
    return make_float2(first, image[(long long)row * shape.nx + column]);
}

// Where pixel x of row `row` of a transform without origin lies in its image.
__device__ static inline long long pixel_at(const RowShape& shape, int row, int x) {
    row += shape.y0;
    if (row >= shape.ny) row -= shape.ny;
    x += shape.x0;
    if (x >= shape.nx) x -= shape.nx;
    return (long long)row * shape.nx + x;
}

// Writes the coefficients at q of both rows of a pair.
__device__ static inline void store_pair(
    float2* half, const RowShape& shape, int pair, int q, float2 here, float2 mate) {
    const int columns = shape.nx / 2 + 1;
    float2* at = half + (long long)2 * pair * columns + q;
    at[0] = first_of_pair(here, mate);
    if (2 * pair + 1 < shape.ny) at[columns] = second_of_pair(here, mate);
}

// Reads the coefficients at q of both rows of a pair; what a real row cannot have is left out.
__device__ static inline void load_pair(
    const float2* half, const RowShape& shape, int pair, int q, float2* a, float2* b) {
    const int columns = shape.nx / 2 + 1;
    const float2* at = half + (long long)2 * pair * columns + q;
    *a = at[0];
    *b = 2 * pair + 1 < shape.ny ? at[columns] : zero();
    if (q == 0 || 2 * q == shape.nx) a->y = b->y = 0.0f;
}

// Writes pixel x of both rows of a pair, of which `value` has the parts exchanged.
__device__ static inline void store_pixels(float* image, const RowShape& shape, int pair, int x, float2 value) {
    image[pixel_at(shape, 2 * pair, x)] = value.y * shape.scale;
    if (2 * pair + 1 < shape.ny) image[pixel_at(shape, 2 * pair + 1, x)] = value.x * shape.scale;
}

extern "C" __global__ void transform_rows_forward(
    float2* half,         // [images][ny][nx/2 + 1]
    const float* pixels,  // [images][ny][nx]
    const float2* roots,  // [nx]
    RowShape shape) {
    SHARED_ARRAY(float2, row_tile);
    const int nx = shape.nx, columns = nx / 2 + 1;
    const int first = blockIdx.x * shape.pairs;
    const int pairs = min(shape.pairs, (shape.ny + 1) / 2 - first);
    const float* image = pixels + (long long)blockIdx.y * shape.ny * nx;
    const LineTile tile = {pairs, 1, nx};
    for (int i = threadIdx.x; i < pairs * nx; i += blockDim.x) {
        const int pair = (unsigned)i / (unsigned)nx;
        row_tile[i] = pixels_of_pair(image, shape, first + pair, i - pair * nx);
    }
    const float2* lines = transform_tile(row_tile, row_tile + shape.pairs * nx, shape.plan, tile, roots);
    float2* target = half + (long long)blockIdx.y * shape.ny * columns;
    for (int i = threadIdx.x; i < pairs * columns; i += blockDim.x) {
        const int pair = (unsigned)i / (unsigned)columns, q = i - pair * columns;
        const float2* line = lines + pair * nx;
        store_pair(target, shape, first + pair, q, line[q], line[q == 0 ? 0 : nx - q]);
    }
}

extern "C" __global__ void transform_rows_inverse(
    float* pixels,       // [images][ny][nx]
    const float2* half,  // [images][ny][nx/2 + 1], columns transformed
    const float2* roots, // [nx]
    RowShape shape) {
    SHARED_ARRAY(float2, row_tile);
    const int nx = shape.nx, columns = nx / 2 + 1;
    const int first = blockIdx.x * shape.pairs;
    const int pairs = min(shape.pairs, (shape.ny + 1) / 2 - first);
    const float2* source = half + (long long)blockIdx.y * shape.ny * columns;
    const LineTile tile = {pairs, 1, nx};
    for (int i = threadIdx.x; i < pairs * columns; i += blockDim.x) {
        const int pair = (unsigned)i / (unsigned)columns, q = i - pair * columns;
        float2 a, b;
        load_pair(source, shape, first + pair, q, &a, &b);
        float2* line = row_tile + pair * nx;
        line[q] = exchanged(pair_at(a, b));
        if (q > 0 && 2 * q < nx) line[nx - q] = exchanged(pair_at_mate(a, b));
    }
    const float2* lines = transform_tile(row_tile, row_tile + shape.pairs * nx, shape.plan, tile, roots);
    float* image = pixels + (long long)blockIdx.y * shape.ny * nx;
    for (int i = threadIdx.x; i < pairs * nx; i += blockDim.x) {
        const int pair = (unsigned)i / (unsigned)nx;
        store_pixels(image, shape, first + pair, i - pair * nx, lines[i]);
    }
}

// One block: `at_once` lines of one item, of which neighbours in shared memory are neighbours in global memory.
__device__ static inline void transform_some_lines(
    float2* to, const float2* from, const float2* roots, const LineShape& shape, float2* values) {
    const int length = shape.plan.length;
    const int first = blockIdx.x * shape.at_once;
    const int lines = min(shape.at_once, shape.lines - first);
    const LineTile tile = {lines, lines, 1};
    const long long item = (long long)blockIdx.z * gridDim.y + blockIdx.y;
    const float2* source = from + item * shape.from_item;
    float2* target = to + item * shape.to_item;
    for (int i = threadIdx.x; i < lines * length; i += blockDim.x) {
        int line, element;
        if (shape.from_stride == 1) {
            line = (unsigned)i / (unsigned)length;
            element = i - line * length;
        } else {
            element = (unsigned)i / (unsigned)lines;
            line = i - element * lines;
        }
        const int outer = (unsigned)(first + line) / (unsigned)shape.inner;
        const int inner = first + line - outer * shape.inner;
        const float2 value = source[(long long)outer * shape.from_outer + inner + (long long)element * shape.from_stride];
        values[element * lines + line] = shape.exchange_from ? exchanged(value) : value;
    }
    const float2* results = transform_tile(values, values + shape.at_once * length, shape.plan, tile, roots);
    for (int i = threadIdx.x; i < lines * length; i += blockDim.x) {
        const int element = (unsigned)i / (unsigned)lines, line = i - element * lines;
        const int outer = (unsigned)(first + line) / (unsigned)shape.inner;
        const int inner = first + line - outer * shape.inner;
        float2 value = results[i];
        if (shape.whole) value = product(value, roots[outer * element]);
        if (shape.exchange_to) value = exchanged(value);
        target[(long long)outer * shape.to_outer + inner + (long long)element * shape.to_stride] = value;
    }
}

extern "C" __global__ void transform_lines_in_place(
    float2* data,         // [items] of lines; `from` and `to` of the shape agree
    const float2* roots,  // of the whole line
    LineShape shape) {
    SHARED_ARRAY(float2, line_tile);
    transform_some_lines(data, data, roots, shape, line_tile);
}

extern "C" __global__ void transform_lines(
    float2* to,           // [items] of lines
    const float2* from,   // [items] of lines
    const float2* roots,  // of the whole line
    LineShape shape) {
    SHARED_ARRAY(float2, line_tile);
    transform_some_lines(to, from, roots, shape, line_tile);
}

// For rows that do not fit into shared memory: pairs of them as complex lines.
extern "C" __global__ void transform_pack_rows(
    float2* lines,        // [images][pairs of rows][nx]
    const float* pixels,  // [images][ny][nx]
    RowShape shape) {
    const int pairs = (shape.ny + 1) / 2;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pairs * shape.nx) return;
    const int pair = i / shape.nx;
    const float* image = pixels + (long long)blockIdx.y * shape.ny * shape.nx;
    lines[(long long)blockIdx.y * pairs * shape.nx + i] = pixels_of_pair(image, shape, pair, i - pair * shape.nx);
}

// Their coefficients.
extern "C" __global__ void transform_part_rows(
    float2* half,         // [images][ny][nx/2 + 1]
    const float2* lines,  // [images][pairs of rows][nx], transformed
    RowShape shape) {
    const int pairs = (shape.ny + 1) / 2, columns = shape.nx / 2 + 1;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pairs * columns) return;
    const int pair = i / columns, q = i - pair * columns;
    const float2* line = lines + ((long long)blockIdx.y * pairs + pair) * shape.nx;
    float2* target = half + (long long)blockIdx.y * shape.ny * columns;
    store_pair(target, shape, pair, q, line[q], line[q == 0 ? 0 : shape.nx - q]);
}

// The other way: pairs of half rows as complex lines, parts exchanged.
extern "C" __global__ void transform_join_rows(
    float2* lines,       // [images][pairs of rows][nx]
    const float2* half,  // [images][ny][nx/2 + 1], columns transformed
    RowShape shape) {
    const int pairs = (shape.ny + 1) / 2, columns = shape.nx / 2 + 1;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pairs * columns) return;
    const int pair = i / columns, q = i - pair * columns;
    float2 a, b;
    load_pair(half + (long long)blockIdx.y * shape.ny * columns, shape, pair, q, &a, &b);
    float2* line = lines + ((long long)blockIdx.y * pairs + pair) * shape.nx;
    line[q] = exchanged(pair_at(a, b));
    if (q > 0 && 2 * q < shape.nx) line[shape.nx - q] = exchanged(pair_at_mate(a, b));
}

// Their pixels.
extern "C" __global__ void transform_unpack_rows(
    float* pixels,        // [images][ny][nx]
    const float2* lines,  // [images][pairs of rows][nx], transformed, parts exchanged
    RowShape shape) {
    const int pairs = (shape.ny + 1) / 2;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pairs * shape.nx) return;
    const int pair = i / shape.nx;
    float* image = pixels + (long long)blockIdx.y * shape.ny * shape.nx;
    const float2 value = lines[(long long)blockIdx.y * pairs * shape.nx + i];
    store_pixels(image, shape, pair, i - pair * shape.nx, value);
}
