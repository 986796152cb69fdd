// Family `tile_spectra`: CUDA twin of compute/src/cpu/tile_spectra.rs. Contract: compute/src/ops/tile_spectra.rs.
//
// Sums over a tile's rows, its mean and variance from these, the tile faded out, then the transform (transform.cu), then
// the power of each cell. Every sum has a fixed order: nothing is added atomically.

// The same struct stands in tile_spectra.rs.
struct TileShape {
    int width;    // of the micrograph, pixels
    int cut;      // edge of a tile, pixels
    int columns;  // of a half transform
    int cells;
    double flat;  // a variance below this part of the squared mean is that of a flat tile
};

// Rows of a tile in a block, and threads of each.
#define TILE_ROWS 8
#define ROW_THREADS 16

// Of each row of each tile, the sum and the sum of squares of what pixels have beyond the tile's first: with that taken
// off, no digits are lost where the mean is large.
extern "C" __global__ void tile_row_sums(
    double* sums,         // [tiles][cut][2]
    const float* pixels,  // the micrograph
    const int* corners,   // [tiles][2]: first pixel x, y
    TileShape shape) {
    __shared__ double partial[TILE_ROWS][ROW_THREADS][2];
    const int lane = threadIdx.x % ROW_THREADS, slot = threadIdx.x / ROW_THREADS;
    const int row = blockIdx.x * TILE_ROWS + slot;
    const int* corner = corners + 2 * blockIdx.y;
    const float* tile = pixels + (long long)corner[1] * shape.width + corner[0];
    double sum = 0.0, squares = 0.0;
    if (row < shape.cut) {
        const double first = tile[0];
        for (int x = lane; x < shape.cut; x += ROW_THREADS) {
            const double value = tile[(long long)row * shape.width + x] - first;
            sum += value;
            squares += value * value;
        }
    }
    partial[slot][lane][0] = sum;
    partial[slot][lane][1] = squares;
    __syncthreads();
    if (lane > 1 || row >= shape.cut) return;
    // one thread adds the sums, its neighbour the squares
    double total = 0.0;
    for (int i = 0; i < ROW_THREADS; i++) total += partial[slot][i][lane];
    sums[2 * ((long long)blockIdx.y * shape.cut + row) + lane] = total;
}

#define LEVEL_THREADS 128

// Mean of each tile, and by what it is multiplied to have variance 1; 0 for a flat one. A block for each tile.
extern "C" __global__ void tile_levels(
    float2* levels,       // [tiles]: mean, scale
    const double* sums,   // [tiles][cut][2]
    const float* pixels,  // the micrograph
    const int* corners,   // [tiles][2]: first pixel x, y
    TileShape shape) {
    __shared__ double partial[LEVEL_THREADS][2];
    const double* rows = sums + 2 * (long long)blockIdx.x * shape.cut;
    double sum = 0.0, squares = 0.0;
    for (int row = threadIdx.x; row < shape.cut; row += LEVEL_THREADS) {
        sum += rows[2 * row];
        squares += rows[2 * row + 1];
    }
    partial[threadIdx.x][0] = sum;
    partial[threadIdx.x][1] = squares;
    for (int reach = LEVEL_THREADS / 2; reach > 0; reach /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < reach) {
            for (int i = 0; i < 2; i++) partial[threadIdx.x][i] += partial[threadIdx.x + reach][i];
        }
    }
    if (threadIdx.x != 0) return;
    const int* corner = corners + 2 * blockIdx.x;
    const double first = pixels[(long long)corner[1] * shape.width + corner[0]];
    const double count = (double)shape.cut * shape.cut;
    const double beyond = partial[0][0] / count, mean = first + beyond;
    const double variance = partial[0][1] / count - beyond * beyond;
    const bool flat = variance <= shape.flat * mean * mean || variance <= 0.0;
    levels[blockIdx.x] = make_float2((float)mean, flat ? 0.0f : (float)(1.0 / sqrt(variance)));
}

// The tiles with mean 0 and variance 1, faded at their edges.
extern "C" __global__ void tile_faded(
    float* faded,          // [tiles][cut][cut]
    const float* pixels,   // the micrograph
    const int* corners,    // [tiles][2]: first pixel x, y
    const float2* levels,  // [tiles]: mean, scale
    const float* window,   // [cut]
    TileShape shape) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= shape.cut * shape.cut) return;
    const int y = i / shape.cut, x = i - y * shape.cut;
    const int* corner = corners + 2 * blockIdx.y;
    const float value = pixels[(long long)(corner[1] + y) * shape.width + corner[0] + x];
    const float2 level = levels[blockIdx.y];
    faded[(long long)blockIdx.y * shape.cut * shape.cut + i] = (value - level.x) * (level.y * window[y]) * window[x];
}

// Mean power of each cell's coefficients. A thread for each cell of a tile: those of a ring are neighbours.
extern "C" __global__ void tile_cell_power(
    float* power,             // [tiles][cells]
    const float2* half,       // [tiles][cut][columns]
    const int* first_member,  // [cells + 1]: where a cell's list begins
    const int* members,       // the coefficients of each cell
    TileShape shape) {
    const int cell = blockIdx.x * blockDim.x + threadIdx.x;
    if (cell >= shape.cells) return;
    const float2* tile = half + (long long)blockIdx.y * shape.cut * shape.columns;
    const int begin = first_member[cell], end = first_member[cell + 1];
    float sum = 0.0f;
    for (int i = begin; i < end; i++) {
        const float2 value = tile[members[i]];
        sum += value.x * value.x + value.y * value.y;
    }
    power[(long long)blockIdx.y * shape.cells + cell] = end > begin ? sum / (float)(end - begin) : 0.0f;
}
