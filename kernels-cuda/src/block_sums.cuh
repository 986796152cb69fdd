// Sums over the threads of a block, the same for every order of threads.
#pragma once

// Threads of a block that sums so.
#define SUMMING_THREADS 128

// Threads are summed by so many, then these sums.
#define SUMMED_TOGETHER 32
#define SUMMED_GROUPS (SUMMING_THREADS / SUMMED_TOGETHER)

// Shared memory that it needs. One place more for each group puts what threads read at the same time into different
// banks. (Declared by the kernel: compilers ignore the section of the host shim in templates.)
template <int QUANTITIES>
struct BlockSums {
    float of_threads[QUANTITIES][SUMMING_THREADS + SUMMED_GROUPS];
    double of_groups[QUANTITIES][SUMMED_GROUPS];
};

// Writes the sums over all threads of the block of some numbers of each, in double precision, to `out`. All threads of
// the block come here, once.
template <int QUANTITIES>
__device__ static inline void block_sums(BlockSums<QUANTITIES>& shared, const float* of_thread, double* out) {
    const int thread = threadIdx.x;
    for (int i = 0; i < QUANTITIES; i++) shared.of_threads[i][thread + thread / SUMMED_TOGETHER] = of_thread[i];
    __syncthreads();
    if (thread < QUANTITIES * SUMMED_GROUPS) {
        const int quantity = thread / SUMMED_GROUPS, group = thread - quantity * SUMMED_GROUPS;
        const float* first = shared.of_threads[quantity] + group * (SUMMED_TOGETHER + 1);
        double sum = 0.0;
        for (int i = 0; i < SUMMED_TOGETHER; i++) sum += (double)first[i];
        shared.of_groups[quantity][group] = sum;
    }
    __syncthreads();
    if (thread < QUANTITIES) {
        double sum = 0.0;
        for (int group = 0; group < SUMMED_GROUPS; group++) sum += shared.of_groups[thread][group];
        out[thread] = sum;
    }
}
