// Frames of a movie as they are read: what kernels of several families share.
#pragma once

// How a frame lies in memory (RawFrame): rows of half bytes, byte i of a row holding pixel i (low) and pixel i + half (high),
// half being half the width, rounded up; bytes; floats.
enum FrameKind { HALF_BYTES = 0, BYTES = 1, FLOATS = 2 };

// One pixel; counts that do not fit into half a byte are put right by `place_large_counts` or its like.
__device__ static inline float raw_value(const unsigned char* frame, int kind, int width, int x, int y) {
    if (kind == HALF_BYTES) {
        const int half = (width + 1) / 2;
        const unsigned char* row = frame + (long long)y * half;
        return (float)(x < half ? row[x] & 15 : row[x - half] >> 4);
    }
    const long long at = (long long)y * width + x;
    return kind == BYTES ? (float)frame[at] : ((const float*)frame)[at];
}

// A count that half a byte cannot hold.
struct LargeCount {
    int index;  // in the frame
    float value;
};
