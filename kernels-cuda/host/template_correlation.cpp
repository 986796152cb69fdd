// The kernels of `template_correlation`, and of the transform before them, on the host.

#include "transform.cpp"

#include "template_correlation.cu"

SHIM_KERNEL(correlation_columns);
SHIM_KERNEL(correlation_best);
