// Family `ceilings`: CUDA twin of compute/src/cpu/ceilings.rs. Contract: compute/src/ops/ceilings.rs.

extern "C" __global__ void copy_numbers(float4* out, const float4* in, long long count) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = in[i];
}

struct ChainShape {
    int lanes;
    int steps;
    float multiplier;
    float summand;
};

extern "C" __global__ void multiply_add(float* out, ChainShape shape) {
    const int lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= shape.lanes) return;
    float x[8];
#pragma unroll
    for (int chain = 0; chain < 8; chain++) x[chain] = (float)(lane % 1024) / 1024.0f + (float)chain;
    for (int step = 0; step < shape.steps; step++) {
#pragma unroll
        for (int chain = 0; chain < 8; chain++) x[chain] = fmaf(x[chain], shape.multiplier, shape.summand);
    }
    float sum = 0.0f;
#pragma unroll
    for (int chain = 0; chain < 8; chain++) sum += x[chain];
    out[lane] = sum;
}
