// The kernels of `project` on the host.

#include "shim.h"

#include "project.cu"

SHIM_KERNEL(project_slices);
