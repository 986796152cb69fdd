// The kernels of `tile_spectra`, and of the transform between them, on the host.

#include "transform.cpp"

#include "tile_spectra.cu"

SHIM_KERNEL(tile_row_sums);
SHIM_KERNEL(tile_levels);
SHIM_KERNEL(tile_faded);
SHIM_KERNEL(tile_cell_power);
