// The kernels of `insert` on the host.

#include "shim.h"

#include "insert.cu"

SHIM_KERNEL(insert_slices);
