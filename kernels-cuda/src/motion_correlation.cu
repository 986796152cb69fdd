// Family `motion_correlation`: CUDA twin of compute/src/cpu/motion_correlation. Contract: compute/src/ops/motion_correlation.rs.
//
// Moved spectra are never written: the sum of a stack is made in one pass over its frames, and every later pass moves a
// coefficient again where it needs it. Measures are summed in the order of the CPU twin, every operation rounded by itself
// (nothing is contracted), so they equal the CPU's bit for bit; powers of rings are sums in double precision in another order.

#define LANES 8
// threads of a block that sums up a ring
#define RING_THREADS 64
// rows that a block measures at a time, and sums of a row: see RowSums of the CPU twin
#define ROWS 32
#define ROW_SUMS 6
#define MEASURES 7

struct CorrelationShape {
    int frames;  // of a stack
    int rows, stride;
    int first;   // stack of this launch
    int rings;   // the last one
};

// Spectra and the phases they are moved by.
struct Stacks {
    const float* spectra;    // [stacks][frames][2][rows][stride]: real and imaginary parts
    const float2* columns;   // [stacks of this launch][frames][stride]: cosine and sine along x
    const float2* turns;     // [stacks of this launch][frames][rows]: along y
};

// A coefficient of a frame, moved.
__device__ static inline float2 moved(
    const Stacks& stacks, const CorrelationShape& shape, int stack, int frame, int row, int x) {
    const int length = shape.rows * shape.stride, at = row * shape.stride + x;
    const float* spectrum = stacks.spectra + ((long long)(shape.first + stack) * shape.frames + frame) * 2 * length;
    const long long here = (long long)stack * shape.frames + frame;
    const float2 column = stacks.columns[here * shape.stride + x], turn = stacks.turns[here * shape.rows + row];
    const float c = turn.x * column.x - turn.y * column.y;
    const float s = turn.x * column.y + turn.y * column.x;
    const float re = spectrum[at], im = spectrum[length + at];
    float2 value;
    value.x = re * c - im * s;
    value.y = re * s + im * c;
    return value;
}

// The sum of the moved frames of every stack. One thread per coefficient, one row of blocks per stack.
extern "C" __global__ void sum_moved(
    float2* sums,  // [stacks of this launch][rows][stride]
    const float* spectra, const float2* columns, const float2* turns, CorrelationShape shape) {
    const int length = shape.rows * shape.stride, stack = blockIdx.y;
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= length) return;
    const Stacks stacks = {spectra, columns, turns};
    const int row = at / shape.stride, x = at - row * shape.stride;
    float2 sum;
    sum.x = 0.0f;
    sum.y = 0.0f;
    for (int frame = 0; frame < shape.frames; frame++) {
        const float2 value = moved(stacks, shape, stack, frame, row, x);
        sum.x = sum.x + value.x;
        sum.y = sum.y + value.y;
    }
    sums[(long long)stack * length + at] = sum;
}

// The measures of every frame of every stack. A block of LANES × ROWS threads per frame and stack.
extern "C" __global__ void measure_frames(
    double* measures,      // [stacks of this launch][frames][MEASURES]
    const float2* sums, const float* spectra, const float2* columns, const float2* turns,
    const float* weights,  // [rows][stride]
    const float* omega_x,  // [stride]
    const float* omega_y,  // [rows]
    CorrelationShape shape) {
    __shared__ float lanes[ROWS][ROW_SUMS][LANES];
    __shared__ double totals[ROWS][ROW_SUMS];
    const int frame = blockIdx.x, stack = blockIdx.y, lane = threadIdx.x;
    const int thread = threadIdx.y * LANES + lane;
    const Stacks stacks = {spectra, columns, turns};
    const float2* stack_sum = sums + (long long)stack * shape.rows * shape.stride;
    double measure = 0.0;
    for (int chunk = 0; chunk < shape.rows; chunk += ROWS) {
        const int row = chunk + threadIdx.y;
        float part[ROW_SUMS] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        for (int x = lane; row < shape.rows && x < shape.stride; x += LANES) {
            const float2 a = moved(stacks, shape, stack, frame, row, x), sum = stack_sum[row * shape.stride + x];
            const float u = sum.x - a.x, v = sum.y - a.y;
            const float w = weights[row * shape.stride + x], o = omega_x[x];
            const float re = w * (u * a.x + v * a.y);
            const float im = w * (u * a.y - v * a.x);
            const float power = (w * (u * u + v * v)) * (w * (a.x * a.x + a.y * a.y));
            part[0] = part[0] + re;
            part[1] = part[1] + o * im;
            part[2] = part[2] + im;
            part[3] = part[3] + o * o * re;
            part[4] = part[4] + o * o * power;
            part[5] = part[5] + power;
        }
        for (int q = 0; q < ROW_SUMS; q++) lanes[threadIdx.y][q][lane] = part[q];
        __syncthreads();
        if (thread < ROWS * ROW_SUMS) {
            const float* values = lanes[thread / ROW_SUMS][thread % ROW_SUMS];
            double total = 0.0;
            for (int i = 0; i < LANES; i++) total = total + (double)values[i];
            totals[thread / ROW_SUMS][thread % ROW_SUMS] = total;
        }
        __syncthreads();
        if (thread >= MEASURES) continue;
        for (int i = 0; i < ROWS && chunk + i < shape.rows; i++) {
            const double* of = totals[i];
            const double o = omega_y[chunk + i];
            switch (thread) {
                case 0: measure = measure + of[0]; break;
                case 1: measure = measure - of[1]; break;
                case 2: measure = measure - o * of[2]; break;
                case 3: measure = measure + of[3]; break;
                case 4: measure = measure + o * o * of[0]; break;
                case 5: measure = measure + 0.5 * of[4]; break;
                default: measure = measure + 0.5 * o * o * of[5];
            }
        }
    }
    if (thread < MEASURES) measures[((long long)stack * shape.frames + frame) * MEASURES + thread] = measure;
}

__device__ static inline double squared(float2 value) { return (double)(value.x * value.x + value.y * value.y); }

// The sum of a value of each thread of a block of RING_THREADS, in thread 0; always in the same order.
__device__ static inline double sum_of_block(double value) {
    __shared__ double values[RING_THREADS];
    values[threadIdx.x] = value;
    for (unsigned half = RING_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) values[threadIdx.x] = values[threadIdx.x] + values[threadIdx.x + half];
    }
    return threadIdx.x == 0 ? values[0] : 0.0;
}

// The power of every ring of the sums. A block per ring and stack.
extern "C" __global__ void ring_power_of_sums(
    double* power,       // [stacks of this launch][rings + 1]
    const float2* sums,
    const int* starts,   // [rings + 2]: where the coefficients of a ring begin
    const int* members,  // coefficients, ring by ring
    CorrelationShape shape) {
    const int ring = blockIdx.x, stack = blockIdx.y;
    const float2* sum = sums + (long long)stack * shape.rows * shape.stride;
    double part = 0.0;
    for (int i = starts[ring] + threadIdx.x; i < starts[ring + 1]; i += RING_THREADS) part += squared(sum[members[i]]);
    const double total = sum_of_block(part);
    if (threadIdx.x == 0) power[(long long)stack * (shape.rings + 1) + ring] = total;
}

// The power of every ring of the moved frames. A block per ring, frame and stack.
extern "C" __global__ void ring_power_of_frames(
    double* power,  // [stacks of this launch][frames][rings + 1]
    const float* spectra, const float2* columns, const float2* turns, const int* starts, const int* members,
    CorrelationShape shape) {
    const int ring = blockIdx.x, frame = blockIdx.y, stack = blockIdx.z;
    const Stacks stacks = {spectra, columns, turns};
    double part = 0.0;
    for (int i = starts[ring] + threadIdx.x; i < starts[ring + 1]; i += RING_THREADS) {
        const int row = members[i] / shape.stride, x = members[i] - row * shape.stride;
        part += squared(moved(stacks, shape, stack, frame, row, x));
    }
    const double total = sum_of_block(part);
    if (threadIdx.x == 0) power[((long long)stack * shape.frames + frame) * (shape.rings + 1) + ring] = total;
}

// The weighted product of every moved frame with the sum of the others. One thread per coefficient, one row of blocks per frame.
extern "C" __global__ void products_with_others(
    float2* products,  // [frames of this launch][rows][stride]
    const float2* sums, const float* spectra, const float2* columns, const float2* turns, const float* weights,
    int first_frame, CorrelationShape shape) {
    const int length = shape.rows * shape.stride;
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= length) return;
    const Stacks stacks = {spectra, columns, turns};
    const int row = at / shape.stride, x = at - row * shape.stride;
    const float2 a = moved(stacks, shape, 0, first_frame + blockIdx.y, row, x), sum = sums[at];
    const float re = sum.x - a.x, im = -(sum.y - a.y);
    float2 product;
    product.x = (re * a.x - im * a.y) * weights[at];
    product.y = (re * a.y + im * a.x) * weights[at];
    products[(long long)blockIdx.y * length + at] = product;
}
