//! A CUDA device, and the families it has. The only file that calls the driver.
#![allow(unsafe_code)]

use crate::insert::{self, InsertArguments, InsertShape};
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg,
    ValidAsZeroBits,
};
use cudarc::nvrtc::Ptx;
use num_complex::Complex32;
use std::path::Path;
use std::sync::Arc;
use vitreous_compute::device::Device;
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedGrid, FixedPoint, Insert, InsertError, SliceBatch};

/// The oldest driver interface whose PTX is ours: CUDA 12.0 (driver 525).
const OLDEST_DRIVER: i32 = 12_000;

/// Bytes of slices sent to the device at once.
const BATCH_BYTES: usize = 256 << 20;

/// Why there is no CUDA device, or why it failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CudaError {
    /// The driver library cannot be loaded.
    #[error("no CUDA driver here (libcuda cannot be loaded); install NVIDIA's driver, or use --device cpu")]
    NoDriver,
    /// There is a driver library but no NVIDIA device file.
    #[error(
        "no NVIDIA GPU here (the driver library is installed, but there is no GPU device); use --device cpu"
    )]
    NoGpu,
    /// The driver runs but shows no device to this process.
    #[error(
        "the CUDA driver shows no device to this process ({reason}); ask the scheduler for a GPU, or check \
         CUDA_VISIBLE_DEVICES"
    )]
    NoVisibleDevice {
        /// What the driver says.
        reason: String,
    },
    /// The driver is older than the kernels.
    #[error("the CUDA driver is of version {}.{}, at least 12.0 is needed; update it to 525 or later", found / 1000, found % 1000 / 10)]
    DriverTooOld {
        /// 1000 × major + 10 × minor.
        found: i32,
    },
    /// A device number beyond the visible ones.
    #[error("there is no CUDA device {wanted}: this process sees {visible}")]
    NoSuchDevice {
        /// Asked for, from 0.
        wanted: usize,
        /// Visible devices.
        visible: usize,
    },
    /// A call failed.
    #[error("CUDA: {doing}: {reason}")]
    Call {
        /// What was attempted.
        doing: &'static str,
        /// What the driver says.
        reason: String,
    },
}

impl CudaError {
    /// There is nothing to run on, as opposed to something that does not work: `--device auto` then takes the CPU.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoDriver | Self::NoGpu | Self::NoVisibleDevice { .. })
    }
}

fn failed(doing: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |error| CudaError::Call { doing, reason: error.to_string() }
}

/// One CUDA device, with its kernels loaded.
#[derive(Debug)]
pub struct CudaDevice {
    name: String,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    insert: CudaFunction,
}

impl CudaDevice {
    /// Opens the visible device `ordinal` and loads the kernels.
    ///
    /// # Errors
    /// The conditions of [`CudaError`]; never a panic where CUDA is missing.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        let visible = visible_devices()?;
        if ordinal >= visible {
            return Err(CudaError::NoSuchDevice { wanted: ordinal, visible });
        }
        let context = CudaContext::new(ordinal).map_err(failed("opening the device"))?;
        let name = context.name().map_err(failed("asking for the device's name"))?;
        let stream = context.new_stream().map_err(failed("making a stream"))?;
        let module = context
            .load_module(Ptx::from_src(insert::PTX))
            .map_err(failed("loading the kernels of `insert`"))?;
        let insert =
            module.load_function(insert::KERNEL).map_err(failed("finding the kernel `insert_slices`"))?;
        Ok(Self { name, context, stream, insert })
    }

    fn send<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>, CudaError> {
        self.stream.clone_htod(values).map_err(failed("copying to the device"))
    }

    fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, count: usize) -> Result<CudaSlice<T>, CudaError> {
        self.stream.alloc_zeros(count).map_err(failed("allocating on the device"))
    }

    fn launch_insert(&self, sums: &mut CudaSlice<i64>, arguments: &InsertArguments) -> Result<(), CudaError> {
        let numerator = self.send(bytemuck::cast_slice::<Complex32, f32>(&arguments.numerator))?;
        let weight = self.send(&arguments.weight)?;
        let axes = self.send(&arguments.axes)?;
        let row_ends = self.send(&arguments.row_ends)?;
        let [[grid_x, grid_y, grid_z], [block_x, block_y, block_z]] =
            [arguments.launch.grid, arguments.launch.block];
        let geometry = LaunchConfig {
            grid_dim: (grid_x, grid_y, grid_z),
            block_dim: (block_x, block_y, block_z),
            shared_mem_bytes: 0,
        };
        let mut launch = self.stream.launch_builder(&self.insert);
        launch.arg(sums).arg(&numerator).arg(&weight).arg(&axes).arg(&row_ends).arg(&arguments.shape);
        // SAFETY: the arguments are those of `insert_slices` in number, order and size; the arrays have the lengths
        // that `InsertShape` and the grid of the sums state, and the kernel writes only cells of that grid: the row
        // ends keep |k| within its reach.
        unsafe { launch.launch(geometry) }.map_err(failed("launching `insert_slices`"))?;
        // the arrays are freed when this returns
        self.stream.synchronize().map_err(failed("running `insert_slices`"))
    }
}

// SAFETY: `repr(C)` of five 4-byte numbers without padding, as the struct in insert.cu.
unsafe impl DeviceRepr for InsertShape {}

/// How many devices this process sees.
fn visible_devices() -> Result<usize, CudaError> {
    // SAFETY: loads the library to look whether it is there; no symbol is called.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let mut version = 0;
    // SAFETY: the library is present, this symbol is in every version of it and may be called before cuInit; the
    // pointer is to a live i32.
    let result = unsafe { sys::cuDriverGetVersion(&mut version) };
    if result == CUresult::CUDA_SUCCESS && version < OLDEST_DRIVER {
        return Err(CudaError::DriverTooOld { found: version });
    }
    if let Err(error) = cudarc::driver::result::init() {
        return Err(match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE if !Path::new("/dev/nvidiactl").exists() => CudaError::NoGpu,
            CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoVisibleDevice { reason: error.to_string() },
            CUresult::CUDA_ERROR_STUB_LIBRARY => CudaError::NoDriver,
            _ => CudaError::Call { doing: "starting the driver", reason: error.to_string() },
        });
    }
    match CudaContext::device_count().map_err(failed("counting devices"))? {
        count if count > 0 => Ok(count as usize),
        _ => Err(CudaError::NoVisibleDevice { reason: "its list is empty".into() }),
    }
}

impl Device for CudaDevice {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn free_bytes(&self) -> u64 {
        self.context.mem_get_info().map_or(0, |(free, _)| free as u64)
    }

    fn synchronize(&self) {
        // a failure shows again, with its cause, in the next call that returns a result
        if let Err(error) = self.stream.synchronize() {
            log::error!("CUDA: waiting for the device: {error}");
        }
    }
}

/// Fixed-point sums in device memory.
#[derive(Debug)]
pub struct CudaSums {
    grid: PaddedGrid,
    scale: FixedPoint,
    data: CudaSlice<i64>,
}

impl Insert for CudaDevice {
    type Accumulator = CudaSums;

    fn accumulator(&self, grid: PaddedGrid, scale: FixedPoint) -> Result<CudaSums, InsertError> {
        let data = self.zeros(3 * grid.len()).map_err(|error| InsertError::Device(error.to_string()))?;
        Ok(CudaSums { grid, scale, data })
    }

    fn insert(&self, into: &mut CudaSums, batch: &SliceBatch<'_>) -> Result<(), InsertError> {
        batch.check(&into.grid, &into.scale)?;
        let n = into.grid.n();
        let image_bytes = (n * (n / 2 + 1) * (size_of::<Complex32>() + size_of::<f32>())).max(1);
        for run in insert::runs(batch, BATCH_BYTES / image_bytes) {
            if let Some(arguments) = insert::arguments(batch, run, &into.grid, &into.scale) {
                self.launch_insert(&mut into.data, &arguments)
                    .map_err(|error| InsertError::Device(error.to_string()))?;
            }
        }
        Ok(())
    }

    fn collect(&self, accumulator: CudaSums) -> Result<FixedGrid, InsertError> {
        let CudaSums { grid, scale, data } = accumulator;
        let host = self
            .stream
            .clone_dtoh(&data)
            .map_err(|error| InsertError::Device(failed("copying from the device")(error).to_string()))?;
        FixedGrid::from_data(grid, scale, host)
            .ok_or_else(|| InsertError::Device("the sums came back with a wrong length".into()))
    }
}
