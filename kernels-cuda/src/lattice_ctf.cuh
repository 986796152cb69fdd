// The contrast transfer function at Fourier pixels, twin of vitreous_compute::likelihood::LatticeCtf, rounding for rounding.
#pragma once

// Coefficients in turns, as LatticeCtf::coefficients lists them.
struct LatticeCtf {
    double quadratic[3];
    double quartic;
    double constant;
    double tetragonal[4];
};

// sin(2 pi x): reduced to a quarter turn in double precision, then the Taylor series to x^11 in single.
__device__ static inline float sin_of_turns(double x) {
    const double fraction = x - rint(x);
    // sin(pi - a) = sin(a) folds [-1/2, 1/2] onto [-1/4, 1/4]
    const double folded = fabs(fraction) > 0.25 ? copysign(0.5, fraction) - fraction : fraction;
    const float a = (float)(folded * 6.283185307179586);
    const float a2 = a * a;
    return a * (1.0f + a2 * (-1.0f / 6.0f +
               a2 * (1.0f / 120.0f + a2 * (-1.0f / 5040.0f + a2 * (1.0f / 362880.0f - a2 / 39916800.0f)))));
}

__device__ static inline float ctf_at(const LatticeCtf* ctf, double qx, double qy) {
    const double radius2 = qx * qx + qy * qy;
    const double re2 = qx * qx - qy * qy, im2 = 2.0 * qx * qy;
    const double* q = ctf->quadratic;
    const double* t = ctf->tetragonal;
    const double round = q[0] * qx * qx + q[1] * qx * qy + q[2] * qy * qy + ctf->quartic * radius2 * radius2 + ctf->constant;
    const double turns = round + radius2 * (t[0] * re2 + t[1] * im2) + t[2] * (re2 * re2 - im2 * im2) + t[3] * 2.0 * re2 * im2;
    return sin_of_turns(turns);
}
