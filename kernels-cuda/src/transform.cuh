// Discrete Fourier transforms of lines that lie in shared memory, for all kernels that need one.
//
// A line's length is a product of radices; a stage for each (Stockham's order, so that nothing is permuted). Radices 2, 3,
// 4, 5 and 8 are written out, other primes are summed directly. Roots of unity come from a table that was made in double
// precision. There is one direction, exp(-2πi jk/n): the inverse is that of numbers whose real and imaginary parts are
// exchanged, exchanged again.
#pragma once

#define MOST_STAGES 8

// How lines of one length are transformed; the same struct stands in transform/plan.rs.
struct LinePlan {
    int length;
    int root_step;  // the table has this many roots for each of this length
    int stages;
    int radices[MOST_STAGES];
};

// Lines in shared memory: element j of line l at j * step + l * pitch.
struct LineTile {
    int lines, step, pitch;
};

__device__ static inline float2 plus(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
__device__ static inline float2 minus(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }
__device__ static inline float2 scaled(float2 a, float t) { return make_float2(a.x * t, a.y * t); }
__device__ static inline float2 exchanged(float2 a) { return make_float2(a.y, a.x); }
// times -i
__device__ static inline float2 turned(float2 a) { return make_float2(a.y, -a.x); }
__device__ static inline float2 product(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

__device__ static inline void butterfly_2(float2& a, float2& b) {
    const float2 sum = plus(a, b);
    b = minus(a, b);
    a = sum;
}

__device__ static inline void butterfly_3(float2* v) {
    const float2 sum = plus(v[1], v[2]), turn = scaled(turned(minus(v[1], v[2])), 0.866025404f);
    const float2 rest = minus(v[0], scaled(sum, 0.5f));
    v[0] = plus(v[0], sum);
    v[1] = plus(rest, turn);
    v[2] = minus(rest, turn);
}

__device__ static inline void butterfly_4(float2& a, float2& b, float2& c, float2& d) {
    const float2 even = plus(a, c), odd = minus(a, c), sum = plus(b, d), turn = turned(minus(b, d));
    a = plus(even, sum);
    b = plus(odd, turn);
    c = minus(even, sum);
    d = minus(odd, turn);
}

__device__ static inline void butterfly_5(float2* v) {
    const float cosine_1 = 0.309016994f, cosine_2 = -0.809016994f, sine_1 = 0.951056516f, sine_2 = 0.587785252f;
    const float2 sum_1 = plus(v[1], v[4]), sum_2 = plus(v[2], v[3]);
    const float2 turn_1 = turned(minus(v[1], v[4])), turn_2 = turned(minus(v[2], v[3]));
    const float2 rest_1 = plus(v[0], plus(scaled(sum_1, cosine_1), scaled(sum_2, cosine_2)));
    const float2 rest_2 = plus(v[0], plus(scaled(sum_1, cosine_2), scaled(sum_2, cosine_1)));
    const float2 side_1 = plus(scaled(turn_1, sine_1), scaled(turn_2, sine_2));
    const float2 side_2 = minus(scaled(turn_1, sine_2), scaled(turn_2, sine_1));
    v[0] = plus(v[0], plus(sum_1, sum_2));
    v[1] = plus(rest_1, side_1);
    v[2] = plus(rest_2, side_2);
    v[3] = minus(rest_2, side_2);
    v[4] = minus(rest_1, side_1);
}

// The results stand in the order of their frequencies.
__device__ static inline void butterfly_8(float2* v) {
    const float root_half = 0.707106781f;
    butterfly_4(v[0], v[2], v[4], v[6]);
    butterfly_4(v[1], v[3], v[5], v[7]);
    const float2 odd_0 = v[1], odd_2 = turned(v[5]);
    const float2 odd_1 = scaled(plus(v[3], turned(v[3])), root_half);
    const float2 odd_3 = scaled(minus(turned(v[7]), v[7]), root_half);
    const float2 even_0 = v[0], even_1 = v[2], even_2 = v[4], even_3 = v[6];
    v[0] = plus(even_0, odd_0);
    v[1] = plus(even_1, odd_1);
    v[2] = plus(even_2, odd_2);
    v[3] = plus(even_3, odd_3);
    v[4] = minus(even_0, odd_0);
    v[5] = minus(even_1, odd_1);
    v[6] = minus(even_2, odd_2);
    v[7] = minus(even_3, odd_3);
}

template <int RADIX>
__device__ static inline void butterfly(float2* v) {
    if constexpr (RADIX == 2) butterfly_2(v[0], v[1]);
    if constexpr (RADIX == 3) butterfly_3(v);
    if constexpr (RADIX == 4) butterfly_4(v[0], v[1], v[2], v[3]);
    if constexpr (RADIX == 5) butterfly_5(v);
    if constexpr (RADIX == 8) butterfly_8(v);
}

// Which line and butterfly the block's work `item` is: neighbours in shared memory go to neighbouring threads.
__device__ static inline void place_of(const LineTile& tile, int item, int butterflies, int* line, int* index) {
    if (tile.step == 1) {
        *line = (unsigned)item / (unsigned)butterflies;
        *index = item - *line * butterflies;
    } else {
        *index = (unsigned)item / (unsigned)tile.lines;
        *line = item - *index * tile.lines;
    }
}

// A stage after others whose radices have the product `done`.
template <int RADIX>
__device__ static inline void stage_of(
    float2* to, const float2* from, const LinePlan& plan, const LineTile& tile, const float2* roots, int done) {
    const int butterflies = plan.length / RADIX;
    const int root_step = plan.root_step * (butterflies / done);
    for (int item = threadIdx.x; item < tile.lines * butterflies; item += blockDim.x) {
        int line, index;
        place_of(tile, item, butterflies, &line, &index);
        const int block = (unsigned)index / (unsigned)done;
        const int within = index - block * done;
        float2 v[RADIX];
        for (int i = 0; i < RADIX; i++) {
            v[i] = from[(index + i * butterflies) * tile.step + line * tile.pitch];
            if (i > 0 && done > 1) v[i] = product(v[i], roots[i * within * root_step]);
        }
        butterfly<RADIX>(v);
        const int first = block * done * RADIX + within;
        for (int i = 0; i < RADIX; i++) to[(first + i * done) * tile.step + line * tile.pitch] = v[i];
    }
}

// The same for a radix that is not written out, one result after the other.
__device__ static inline void stage_of_prime(
    float2* to, const float2* from, const LinePlan& plan, const LineTile& tile, const float2* roots, int done, int radix) {
    const int butterflies = plan.length / radix;
    const int root_step = butterflies / done;
    for (int item = threadIdx.x; item < tile.lines * plan.length; item += blockDim.x) {
        int line, result;
        place_of(tile, item, plan.length, &line, &result);
        const int block = (unsigned)result / (unsigned)(done * radix);
        const int turn = (result - block * done * radix) * root_step;
        const int index = block * done + (unsigned)result % (unsigned)done;
        float2 sum = make_float2(0.0f, 0.0f);
        for (int i = 0, root = 0; i < radix; i++) {
            const float2 value = from[(index + i * butterflies) * tile.step + line * tile.pitch];
            sum = plus(sum, product(value, roots[root * plan.root_step]));
            root += turn;
            if (root >= plan.length) root -= plan.length;
        }
        to[result * tile.step + line * tile.pitch] = sum;
    }
}

// Transforms the lines of `tile` that all threads of the block have written to `values`; `spare` is as large. Where the
// results stand, complete for all threads.
__device__ static inline float2* transform_tile(
    float2* values, float2* spare, const LinePlan& plan, const LineTile& tile, const float2* roots) {
    int done = 1;
    for (int stage = 0; stage < plan.stages; stage++) {
        const int radix = plan.radices[stage];
        __syncthreads();
        switch (radix) {
            case 2: stage_of<2>(spare, values, plan, tile, roots, done); break;
            case 3: stage_of<3>(spare, values, plan, tile, roots, done); break;
            case 4: stage_of<4>(spare, values, plan, tile, roots, done); break;
            case 5: stage_of<5>(spare, values, plan, tile, roots, done); break;
            case 8: stage_of<8>(spare, values, plan, tile, roots, done); break;
            default: stage_of_prime(spare, values, plan, tile, roots, done, radix);
        }
        float2* results = spare;
        spare = values;
        values = results;
        done *= radix;
    }
    __syncthreads();
    return values;
}

// Two real rows a and b as one complex line, a + ib: what its transform holds of a at frequency q, where it is `here` at q
// and `mate` at -q.
__device__ static inline float2 first_of_pair(float2 here, float2 mate) {
    return make_float2(0.5f * (here.x + mate.x), 0.5f * (here.y - mate.y));
}
// And of b.
__device__ static inline float2 second_of_pair(float2 here, float2 mate) {
    return make_float2(0.5f * (here.y + mate.y), 0.5f * (mate.x - here.x));
}
// The transform of a + ib at q, from those of a and b at q.
__device__ static inline float2 pair_at(float2 a, float2 b) { return make_float2(a.x - b.y, a.y + b.x); }
// And at -q.
__device__ static inline float2 pair_at_mate(float2 a, float2 b) { return make_float2(a.x + b.y, b.x - a.y); }
