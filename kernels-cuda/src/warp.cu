// Family `warp`: CUDA twin of compute/src/cpu/warp. Contract: compute/src/ops/warp.rs.
//
// Frames are made ready one by one (gain, large counts, bad pixels, continued beyond their edges), then a group of them is
// read along its motion and added to the sums of all terms at once: a block owns two tiles of the output, holds the lines of
// all frames of the group in shared memory, and every sum is read and written once. Every operation is rounded by itself and
// in the order of the CPU twin (nothing is contracted), so the sums equal the CPU's bit for bit.

#include "movie_frames.cuh"

#define TAPS 6
#define FRACTIONS 1024
#define TILE 16
#define GROUP 4
#define MODES 6
// columns of a line that a tile reads, and tiles of a block
#define REACH (TILE + TAPS - 1)
#define TILES 2

struct WarpShape {
    int width, height;      // of a frame
    int columns, rows;      // of the sums
    int tiles_x, tiles_y;   // of the sums
    int terms, stride;      // sums, and floats from a row of one to that of the next
    int frames;             // of this group
    int has_gain;
    int kind;               // of the frame made ready: FrameKind
    int slot;               // and its place in the group
    int count;              // items of a list
};

// Where the pixels of a tile come from: row and column under the first tap of the first pixel, within the sums, and indices
// into the table of taps.
struct TilePlan {
    int row, column, tap_y, tap_x;
};

__device__ static inline float* frame_of(float* group, const WarpShape& shape, int slot) {
    return group + (long long)slot * shape.columns * shape.rows;
}

// A frame times the gain into its place of the group, rows `columns` apart. One thread per pixel, one row of blocks per row.
extern "C" __global__ void ready_frame(float* group, const unsigned char* raw, const float* gain, WarpShape shape) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= shape.width) return;
    for (int y = blockIdx.y; y < shape.height; y += gridDim.y) {
        float value = raw_value(raw, shape.kind, shape.width, x, y);
        if (shape.has_gain) value = value * gain[(long long)y * shape.width + x];
        frame_of(group, shape, shape.slot)[(long long)y * shape.columns + x] = value;
    }
}

// Counts that half a byte cannot hold, at their pixels. One thread each.
extern "C" __global__ void place_large_counts(float* group, const LargeCount* large, const float* gain, WarpShape shape) {
    const int item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= shape.count) return;
    const int index = large[item].index;
    const int y = index / shape.width, x = index - y * shape.width;
    const float value = shape.has_gain ? large[item].value * gain[index] : large[item].value;
    frame_of(group, shape, shape.slot)[(long long)y * shape.columns + x] = value;
}

// Bad pixels take the value of the good one that stands in, 0 if that is -1. One thread each.
extern "C" __global__ void replace_bad_pixels(float* group, const int2* pairs, WarpShape shape) {
    const int item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= shape.count) return;
    float* frame = frame_of(group, shape, shape.slot);
    const int bad = pairs[item].x, good = pairs[item].y;
    const int y = bad / shape.width, x = bad - y * shape.width;
    float value = 0.0f;
    if (good >= 0) {
        const int from_y = good / shape.width, from_x = good - from_y * shape.width;
        value = frame[(long long)from_y * shape.columns + from_x];
    }
    frame[(long long)y * shape.columns + x] = value;
}

// How much of the opposite edge there is in pixel `at` of the length .. period between the edges.
__device__ static inline float fade(int at, int length, int period) {
    return (float)(at + 1 - length) / (float)(period + 1 - length);
}

// Column x of a row that may lie beyond the frame's last one.
__device__ static inline float along_column(const float* frame, const WarpShape& shape, int x, int y) {
    if (y < shape.height) return frame[(long long)y * shape.columns + x];
    const float last = frame[(long long)(shape.height - 1) * shape.columns + x];
    return last + fade(y, shape.height, shape.rows) * (frame[x] - last);
}

// The pixels of a ready frame between its edges and the size of the sums. One thread each.
extern "C" __global__ void continue_frame(float* group, WarpShape shape) {
    const int item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= shape.count) return;
    float* frame = frame_of(group, shape, shape.slot);
    const int beside = shape.columns - shape.width;
    int x, y;
    if (item < beside * shape.height) {
        y = item / beside;
        x = shape.width + item - y * beside;
    } else {
        const int below = item - beside * shape.height;
        y = below / shape.columns;
        x = below - y * shape.columns;
        y += shape.height;
    }
    float value;
    if (x < shape.width) {
        value = along_column(frame, shape, x, y);
    } else {
        const float left = along_column(frame, shape, 0, y);
        const float right = along_column(frame, shape, shape.width - 1, y);
        value = right + fade(x, shape.width, shape.columns) * (left - right);
    }
    frame[(long long)y * shape.columns + x] = value;
}

// The whole pixel left of a position less the kernel's reach, within a period, and the index of the taps.
__device__ static inline int first_tap(double at, int period, int* taps) {
    const double left = floor(at);
    const int fraction = (int)round((at - left) * (double)FRACTIONS);
    *taps = min(fraction, FRACTIONS);
    const int first = ((int)left - (TAPS / 2 - 1)) % period;
    return first < 0 ? first + period : first;
}

__device__ static inline double polynomial(const double* c, double x, double y) {
    return c[0] + c[1] * x + c[2] * y + c[3] * (x * x) + c[4] * (y * y) + c[5] * (x * y);
}

// The plans of all tiles of a group of frames. One thread per tile, one row of blocks per frame.
extern "C" __global__ void plan_tiles(TilePlan* plans, const double* motion, WarpShape shape) {
    const int tiles = shape.tiles_x * shape.tiles_y;
    const int tile = blockIdx.x * blockDim.x + threadIdx.x;
    const int frame = blockIdx.y;
    if (tile >= tiles || frame >= shape.frames) return;
    const int corner_y = tile / shape.tiles_x * TILE;
    const int corner_x = (tile - tile / shape.tiles_x * shape.tiles_x) * TILE;
    const double half = (TILE - 1.0) / 2.0;
    const double width = shape.width, height = shape.height;
    const double x = (2.0 * (corner_x + half) - (width - 1.0)) / width;
    const double y = (2.0 * (corner_y + half) - (height - 1.0)) / height;
    const double* c = motion + 2 * MODES * frame;
    const double u = fmin(fmax(polynomial(c, x, y), -width), width);
    const double v = fmin(fmax(polynomial(c + MODES, x, y), -height), height);
    TilePlan plan;
    plan.column = first_tap(corner_x + u, shape.columns, &plan.tap_x);
    plan.row = first_tap(corner_y + v, shape.rows, &plan.tap_y);
    plans[frame * tiles + tile] = plan;
}

// `at` within 0 .. period; it is not far beyond.
__device__ static inline int within(int at, int period) {
    while (at >= period) at -= period;
    return at;
}

// Reads a group of frames along their motion and adds them to the sums. Blocks of 32 × 8 threads own two tiles of the output.
extern "C" __global__ void add_warped(
    float* sums,             // [rows][terms][stride]
    const float* group,      // [frames][rows][columns], ready
    const TilePlan* plans,   // [frames][tiles_y][tiles_x]
    const float* taps,       // [FRACTIONS + 1][TAPS]
    const float* weights,    // [terms][GROUP]; 0 for frames that the group lacks
    WarpShape shape) {
    __shared__ float lines[GROUP][TILES][TILE][REACH];
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    const int threads = blockDim.x * blockDim.y;
    const int first_tile = blockIdx.x * TILES, tile_y = blockIdx.y;
    const int tiles = shape.tiles_x * shape.tiles_y;
    for (int item = thread; item < shape.frames * TILES * TILE * REACH; item += threads) {
        const int i = item % REACH, row = item / REACH % TILE;
        const int tile = item / (REACH * TILE) % TILES, frame = item / (REACH * TILE * TILES);
        if (first_tile + tile >= shape.tiles_x || tile_y * TILE + row >= shape.rows) continue;
        const TilePlan* of_row = plans + frame * tiles + tile_y * shape.tiles_x;
        const int column = within(of_row[first_tile + tile].column + i, shape.columns);
        // the row is that wanted by the tile in whose columns this one lies
        const TilePlan plan = of_row[column / TILE];
        const float* image = group + (long long)frame * shape.columns * shape.rows + column;
        const float* t = taps + TAPS * plan.tap_y;
        float value = 0.0f;
        for (int j = 0; j < TAPS; j++) {
            value = value + t[j] * image[(long long)within(plan.row + row + j, shape.rows) * shape.columns];
        }
        lines[frame][tile][row][i] = value;
    }
    __syncthreads();
    const int x = first_tile * TILE + threadIdx.x, tile = threadIdx.x / TILE, in_tile = threadIdx.x % TILE;
    if (x >= shape.columns) return;
    for (int row = threadIdx.y; row < TILE && tile_y * TILE + row < shape.rows; row += blockDim.y) {
        float warped[GROUP] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int frame = 0; frame < shape.frames; frame++) {
            const float* t = taps + TAPS * plans[frame * tiles + tile_y * shape.tiles_x + first_tile + tile].tap_x;
            float value = 0.0f;
            for (int j = 0; j < TAPS; j++) value = value + t[j] * lines[frame][tile][row][in_tile + j];
            warped[frame] = value;
        }
        float* sum = sums + (long long)(tile_y * TILE + row) * shape.terms * shape.stride + x;
        for (int term = 0; term < shape.terms; term++) {
            const float* w = weights + GROUP * term;
            sum[(long long)term * shape.stride] +=
                (w[0] * warped[0] + w[1] * warped[1]) + (w[2] * warped[2] + w[3] * warped[3]);
        }
    }
}
