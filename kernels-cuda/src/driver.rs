//! The CUDA driver as a [`Runtime`]. The only file that calls it.

use crate::families::FAMILIES;
use crate::gpu::Gpu;
use crate::runtime::{Argument, KernelError, Launch, Runtime};
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DriverError, result,
};
use cudarc::nvrtc::Ptx;
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::sync::Arc;

/// The oldest driver interface whose PTX is ours: CUDA 12.0 (driver 525).
const OLDEST_DRIVER: i32 = 12_000;

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
        doing: String,
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

fn failed(doing: &str) -> impl Fn(DriverError) -> CudaError {
    move |error| CudaError::Call { doing: doing.into(), reason: error.to_string() }
}

/// One GPU: a context, one stream that everything goes through in order, and the kernels.
#[derive(Debug)]
pub struct CudaRuntime {
    name: String,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    kernels: HashMap<&'static str, CudaFunction>,
    sharers: u32,
}

/// A CUDA GPU.
pub type CudaDevice = Gpu<CudaRuntime>;

impl CudaDevice {
    /// Opens the visible device `ordinal` and loads the kernels, for this process alone.
    ///
    /// # Errors
    /// The conditions of [`CudaError`]; never a panic where CUDA is missing.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        Self::open_shared(ordinal, 1)
    }

    /// The same for one of `sharers` processes that compute on it: each counts on its part of the free memory only.
    ///
    /// # Errors
    /// As [`CudaDevice::open`].
    pub fn open_shared(ordinal: usize, sharers: u32) -> Result<Self, CudaError> {
        Ok(Self::new(CudaRuntime::open(ordinal, sharers)?))
    }

    /// How many devices the driver shows to this process.
    ///
    /// # Errors
    /// The conditions of [`CudaError`]: that there is none is one of them.
    pub fn visible() -> Result<usize, CudaError> {
        visible_devices()
    }
}

impl CudaRuntime {
    /// As [`CudaDevice::open_shared`].
    ///
    /// # Errors
    /// The conditions of [`CudaError`].
    pub fn open(ordinal: usize, sharers: u32) -> Result<Self, CudaError> {
        let visible = visible_devices()?;
        if ordinal >= visible {
            return Err(CudaError::NoSuchDevice { wanted: ordinal, visible });
        }
        let context = CudaContext::new(ordinal).map_err(failed("opening the device"))?;
        // SAFETY: events would order several streams; there is one, and memory is used and freed on it alone.
        unsafe { context.disable_event_tracking() };
        let name = context.name().map_err(failed("asking for the device's name"))?;
        let stream = context.new_stream().map_err(failed("making a stream"))?;
        let mut kernels = HashMap::new();
        for family in FAMILIES {
            let module = context
                .load_module(Ptx::from_src(family.ptx))
                .map_err(failed(&format!("loading the kernels of `{}`", family.name)))?;
            for &kernel in family.kernels {
                let function = module
                    .load_function(kernel)
                    .map_err(failed(&format!("finding the kernel `{kernel}`")))?;
                kernels.insert(kernel, function);
            }
        }
        Ok(Self { name, context, stream, kernels, sharers: sharers.max(1) })
    }

    /// An error of a call, with what was attempted.
    fn error(&self, doing: &str, wanted_bytes: usize, error: DriverError) -> KernelError {
        match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => KernelError::OutOfMemory {
                wanted_mib: (wanted_bytes >> 20) as u64,
                free_mib: self.free_bytes() >> 20,
            },
            _ => KernelError::Call { doing: doing.into(), reason: error.to_string() },
        }
    }
}

impl Runtime for CudaRuntime {
    type Memory = CudaSlice<u8>;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn free_bytes(&self) -> u64 {
        self.context.mem_get_info().map_or(0, |(free, _)| free as u64) / u64::from(self.sharers)
    }

    fn synchronize(&self) -> Result<(), KernelError> {
        self.stream.synchronize().map_err(|error| self.error("waiting for the device", 0, error))
    }

    fn zeros(&self, bytes: usize) -> Result<CudaSlice<u8>, KernelError> {
        // the driver refuses to allocate nothing
        self.stream.alloc_zeros(bytes.max(1)).map_err(|error| self.error("allocating memory", bytes, error))
    }

    fn upload(&self, bytes: &[u8]) -> Result<CudaSlice<u8>, KernelError> {
        let bytes = if bytes.is_empty() { &[0] } else { bytes };
        self.stream.clone_htod(bytes).map_err(|error| self.error("copying to the device", bytes.len(), error))
    }

    fn download(&self, memory: &CudaSlice<u8>, bytes: &mut [u8]) -> Result<(), KernelError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let part = memory.try_slice(..bytes.len()).ok_or_else(|| KernelError::Call {
            doing: "copying from the device".into(),
            reason: format!("{} bytes were asked for, there are {}", bytes.len(), memory.len()),
        })?;
        let copied = self.stream.memcpy_dtoh(&part, bytes).and_then(|()| self.stream.synchronize());
        copied.map_err(|error| self.error("copying from the device", 0, error))
    }

    unsafe fn launch(
        &self,
        launch: &Launch,
        arguments: &mut [Argument<'_, CudaSlice<u8>>],
    ) -> Result<(), KernelError> {
        let doing = format!("launching `{}`", launch.kernel);
        let function = self.kernels.get(launch.kernel).ok_or_else(|| KernelError::Call {
            doing: doing.clone(),
            reason: "there is no such kernel in the list of families".into(),
        })?;
        let mut addresses: Vec<sys::CUdeviceptr> = arguments
            .iter_mut()
            .map(|argument| match argument {
                Argument::Reads(memory) => memory.device_ptr(&self.stream).0,
                Argument::Writes(memory) => memory.device_ptr_mut(&self.stream).0,
                Argument::Scalars(_) => 0,
            })
            .collect();
        let mut pointers: Vec<*mut c_void> = arguments
            .iter()
            .zip(&mut addresses)
            .map(|(argument, address)| match argument {
                // the driver only reads through it
                Argument::Scalars(bytes) => bytes.as_ptr().cast_mut().cast(),
                _ => std::ptr::from_mut(address).cast(),
            })
            .collect();
        let [[grid_x, grid_y, grid_z], [block_x, block_y, block_z]] = [launch.grid, launch.block];
        self.context.bind_to_thread().map_err(|error| self.error(&doing, 0, error))?;
        // SAFETY: the function belongs to this context; every pointer is to a live value that the driver copies before it
        // returns; what it means to the kernel is promised by the caller.
        let launched = unsafe {
            result::launch_kernel(
                function.cu_function(),
                (grid_x, grid_y, grid_z),
                (block_x, block_y, block_z),
                launch.shared_bytes,
                self.stream.cu_stream(),
                &mut pointers,
            )
        };
        launched.map_err(|error| self.error(&doing, 0, error))
    }
}

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
    if let Err(error) = result::init() {
        return Err(match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE if !Path::new("/dev/nvidiactl").exists() => CudaError::NoGpu,
            CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoVisibleDevice { reason: error.to_string() },
            CUresult::CUDA_ERROR_STUB_LIBRARY => CudaError::NoDriver,
            _ => CudaError::Call { doing: "starting the driver".into(), reason: error.to_string() },
        });
    }
    match CudaContext::device_count().map_err(failed("counting devices"))? {
        count if count > 0 => Ok(count as usize),
        _ => Err(CudaError::NoVisibleDevice { reason: "its list is empty".into() }),
    }
}
