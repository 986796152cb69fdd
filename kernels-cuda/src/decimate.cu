// Family `decimate`: CUDA twin of compute/src/cpu/decimate. Contract: compute/src/ops/decimate.rs.
//
// A frame is expanded to floats times the gain, then a block of threads makes a tile of the small copy: the lines it needs,
// filtered along y, in shared memory, and from these its pixels. Every operation is rounded by itself and in the order of the CPU
// twin (nothing is contracted), so the small copy equals the CPU's bit for bit.

#include "device_code.cuh"
#include "movie_frames.cuh"

#define LANES 8

struct DecimationShape {
    int width, height;   // of the frame
    int columns, rows;   // of the small copy
    int block;           // pixels of the frame per pixel of the copy
    int count, first;    // taps, and where the first lies
    int tile_columns;    // of the small copy in a block of threads; its rows are those of the threads
    int has_gain;
    int kind;            // of the frame: FrameKind
    int large;           // counts that half a byte cannot hold
};

// The frame times the gain, `[height][width]`. One thread per pixel.
extern "C" __global__ void expand_frame(
    float* frame, const unsigned char* raw, const float* gain, DecimationShape shape) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= shape.width) return;
    for (int y = blockIdx.y; y < shape.height; y += gridDim.y) {
        const long long at = (long long)y * shape.width + x;
        const float value = raw_value(raw, shape.kind, shape.width, x, y);
        frame[at] = shape.has_gain ? value * gain[at] : value;
    }
}

// Counts that half a byte cannot hold. One thread each.
extern "C" __global__ void expand_large_counts(
    float* frame, const LargeCount* large, const float* gain, DecimationShape shape) {
    const int item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= shape.large) return;
    const int index = large[item].index;
    frame[index] = shape.has_gain ? large[item].value * gain[index] : large[item].value;
}

// A tile of the small copy. Shared memory: `[rows of threads][(tile_columns - 1) block + count]`.
extern "C" __global__ void decimate_frame(
    float* small, const float* frame, const float* taps, DecimationShape shape) {
    SHARED_ARRAY(float, lines);
    const int length = (shape.tile_columns - 1) * shape.block + shape.count;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    const int first_column = blockIdx.x * shape.tile_columns;
    float* line = lines + threadIdx.y * length;
    if (row < shape.rows) {
        const int from_x = first_column * shape.block + shape.first, from_y = row * shape.block + shape.first;
        for (int i = threadIdx.x; i < length; i += blockDim.x) {
            // an outermost pixel stands for those beyond it
            const int x = min(max(from_x + i, 0), shape.width - 1);
            float sum = 0.0f;
            for (int j = 0; j < shape.count; j++) {
                const int y = min(max(from_y + j, 0), shape.height - 1);
                sum = sum + taps[j] * frame[(long long)y * shape.width + x];
            }
            line[i] = sum;
        }
    }
    __syncthreads();
    if (row >= shape.rows) return;
    const int whole = shape.count / LANES * LANES;
    for (int c = threadIdx.x; c < shape.tile_columns && first_column + c < shape.columns; c += blockDim.x) {
        const float* source = line + c * shape.block;
        float lanes[LANES], sum = 0.0f, rest = 0.0f;
        for (int lane = 0; lane < LANES; lane++) {
            lanes[lane] = 0.0f;
            for (int j = lane; j < whole; j += LANES) lanes[lane] = lanes[lane] + source[j] * taps[j];
            sum = sum + lanes[lane];
        }
        for (int j = whole; j < shape.count; j++) rest = rest + source[j] * taps[j];
        small[(long long)row * shape.columns + first_column + c] = sum + rest;
    }
}
