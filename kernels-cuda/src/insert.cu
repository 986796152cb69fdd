// Family `insert`: CUDA twin of compute/src/cpu/insert.rs. Contract: compute/src/ops/insert.rs.
//
// One thread per coefficient of one image. Every operation is a single-precision one, rounded to nearest, in the order
// of the CPU twin and never contracted; contributions are rounded to integers and added atomically. Integer sums do not
// depend on their order, so the result equals the CPU's bit for bit.

struct InsertShape {
    int images;            // in this launch
    int n;                 // box edge, pixels
    int reach;             // grid steps from the origin to the last point
    float numerator_steps; // fixed-point steps per unit
    float weight_steps;
};

__device__ static inline void add_cell(long long* cell, float re, float im, float w, float t) {
    // a two's-complement sum is the same for signed and unsigned integers
    unsigned long long* sum = (unsigned long long*)cell;
    atomicAdd(sum, (unsigned long long)__float2ll_rn(__fmul_rn(re, t)));
    atomicAdd(sum + 1, (unsigned long long)__float2ll_rn(__fmul_rn(im, t)));
    atomicAdd(sum + 2, (unsigned long long)__float2ll_rn(__fmul_rn(w, t)));
}

extern "C" __global__ void insert_slices(
    long long* grid,          // [2 reach + 1][2 reach + 1][reach + 1][3]
    const float2* numerator,  // [images][n][n/2 + 1]
    const float* weight,      // [images][n][n/2 + 1]
    const float* axes,        // [images][9]: the image's x, then y axis in grid steps per Fourier pixel, then the bend's
    const int* row_ends,      // [n]: coefficients of a row within the radius
    InsertShape shape) {
    const int columns = shape.n / 2 + 1;
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    const int image = blockIdx.y;
    if (pixel >= shape.n * columns || image >= shape.images) return;
    const int y = pixel / columns;
    const int x = pixel - y * columns;
    const int qy = y <= shape.n / 2 ? y : y - shape.n;
    // of the pairs (0, qy) and (0, -qy) one is enough
    if (x >= row_ends[y] || (x == 0 && qy < 0)) return;

    const long long source = (long long)image * shape.n * columns + pixel;
    float2 value = numerator[source];
    float w = weight[source];
    if (w == 0.0f && value.x == 0.0f && value.y == 0.0f) return;
    if (x == 0 && y == 0) {
        // its own mate: halved here, doubled when the plane kx = 0 is completed
        value.x = __fmul_rn(value.x, 0.5f);
        value.y = __fmul_rn(value.y, 0.5f);
        w = __fmul_rn(w, 0.5f);
    }

    const float* a = axes + 9 * image;
    const float radius2 = (float)(x * x + qy * qy);
    float k[3];
    for (int i = 0; i < 3; i++) {
        const float flat = __fadd_rn(__fmul_rn(a[i], (float)x), __fmul_rn(a[3 + i], (float)qy));
        k[i] = __fadd_rn(flat, __fmul_rn(a[6 + i], radius2));
    }
    if (k[0] < 0.0f) {
        for (int i = 0; i < 3; i++) k[i] = -k[i];
        value.y = -value.y;
    }
    float low[3], t[3];
    for (int i = 0; i < 3; i++) {
        low[i] = floorf(k[i]);
        t[i] = __fsub_rn(k[i], low[i]);
    }
    const float re = __fmul_rn(value.x, shape.numerator_steps);
    const float im = __fmul_rn(value.y, shape.numerator_steps);
    w = __fmul_rn(w, shape.weight_steps);

    const long long edge = 2 * shape.reach + 1;
    const long long width = shape.reach + 1;
    const int x0 = (int)low[0];
    const int y0 = (int)low[1] + shape.reach;
    const int z0 = (int)low[2] + shape.reach;
    for (int dz = 0; dz < 2; dz++) {
        const float wz = dz ? t[2] : __fsub_rn(1.0f, t[2]);
        for (int dy = 0; dy < 2; dy++) {
            const float wzy = __fmul_rn(wz, dy ? t[1] : __fsub_rn(1.0f, t[1]));
            long long* cell = grid + 3 * (((z0 + dz) * edge + y0 + dy) * width + x0);
            add_cell(cell, re, im, w, __fmul_rn(wzy, __fsub_rn(1.0f, t[0])));
            add_cell(cell + 3, re, im, w, __fmul_rn(wzy, t[0]));
        }
    }
}
