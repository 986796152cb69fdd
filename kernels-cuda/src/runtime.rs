//! What kernels need of the machine they run on: memory, copies and launches. [`crate::driver`] is the one for GPUs; the
//! tests have a second that runs the same kernels on the host (`host/shim.h`), so that everything above this line is the
//! same code in both.

use bytemuck::{Pod, Zeroable};
use std::fmt::Debug;
use std::marker::PhantomData;

/// Threads of a block where a kernel has no wish of its own; a whole number of warps.
pub const BLOCK: u32 = 128;

/// The largest second and third dimension of a grid that CUDA allows.
pub const MOST_ROWS: usize = 65_535;

/// Shared memory that a block may have on every GPU without asking, bytes.
pub const SHARED_BYTES: usize = 48 << 10;

/// Why something on the device did not work.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// The device's memory does not hold it.
    #[error("the device's memory is full: {wanted_mib} MiB were asked for, {free_mib} MiB are free")]
    OutOfMemory {
        /// Asked for, MiB.
        wanted_mib: u64,
        /// What is left, MiB.
        free_mib: u64,
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

/// A machine that runs kernels, in the order they are asked for.
pub trait Runtime: Debug + Send + Sync + 'static {
    /// A piece of its memory.
    type Memory: Debug + Send + Sync;

    /// Name for people.
    fn name(&self) -> String;

    /// Memory that can still be allocated, bytes.
    fn free_bytes(&self) -> u64;

    /// Waits until everything asked for is done; tells what failed in it.
    ///
    /// # Errors
    /// Something asked for before failed.
    fn synchronize(&self) -> Result<(), KernelError>;

    /// Memory of `bytes` zeros.
    ///
    /// # Errors
    /// There is not as much.
    fn zeros(&self, bytes: usize) -> Result<Self::Memory, KernelError>;

    /// Memory holding `bytes`.
    ///
    /// # Errors
    /// There is not as much, or copying failed.
    fn upload(&self, bytes: &[u8]) -> Result<Self::Memory, KernelError>;

    /// Reads the beginning of `memory` into all of `bytes`, after everything asked for before.
    ///
    /// # Errors
    /// Copying failed, or something asked for before.
    fn download(&self, memory: &Self::Memory, bytes: &mut [u8]) -> Result<(), KernelError>;

    /// Runs a kernel.
    ///
    /// # Errors
    /// The kernel is unknown, or its geometry beyond what the machine allows.
    ///
    /// # Safety
    /// The arguments are those of the kernel in number, order and size, and it stays within the memory it is given.
    unsafe fn launch(
        &self,
        launch: &Launch,
        arguments: &mut [Argument<'_, Self::Memory>],
    ) -> Result<(), KernelError>;
}

/// A kernel by name, and the geometry of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// `extern "C"` name in the `.cu` file.
    pub kernel: &'static str,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory, bytes.
    pub shared_bytes: u32,
}

impl Launch {
    /// Blocks of [`BLOCK`] threads for `count` threads along x and one row of them for each of `rows`, at most
    /// [`MOST_ROWS`].
    pub fn over(kernel: &'static str, count: usize, rows: usize) -> Self {
        let blocks = count.div_ceil(BLOCK as usize).max(1) as u32;
        Self { kernel, grid: [blocks, rows as u32, 1], block: [BLOCK, 1, 1], shared_bytes: 0 }
    }
}

/// An argument of a kernel.
#[derive(Debug)]
pub enum Argument<'a, M> {
    /// Memory it reads.
    Reads(&'a M),
    /// Memory it writes, or reads and writes.
    Writes(&'a mut M),
    /// A number or a `repr(C)` struct of numbers that stands in both languages.
    Scalars(&'a [u8]),
}

impl<'a, M> Argument<'a, M> {
    /// A number or a struct.
    pub fn scalars<T: Pod>(value: &'a T) -> Self {
        Self::Scalars(bytemuck::bytes_of(value))
    }
}

/// An array in the memory of a runtime.
#[derive(Debug)]
pub struct Buffer<T, R: Runtime> {
    memory: R::Memory,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Pod, R: Runtime> Buffer<T, R> {
    /// `len` zeros.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn zeros(runtime: &R, len: usize) -> Result<Self, KernelError> {
        let memory = runtime.zeros(len * size_of::<T>())?;
        Ok(Self { memory, len, values: PhantomData })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// There is not as much memory, or copying failed.
    pub fn upload(runtime: &R, values: &[T]) -> Result<Self, KernelError> {
        let memory = runtime.upload(bytemuck::cast_slice(values))?;
        Ok(Self { memory, len: values.len(), values: PhantomData })
    }

    /// All of it, after everything asked for before.
    ///
    /// # Errors
    /// Copying failed, or something asked for before.
    pub fn download(&self, runtime: &R) -> Result<Vec<T>, KernelError> {
        let mut values = vec![T::zeroed(); self.len];
        runtime.download(&self.memory, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// As what a kernel reads.
    pub fn read(&self) -> Argument<'_, R::Memory> {
        Argument::Reads(&self.memory)
    }

    /// As what a kernel writes.
    pub fn write(&mut self) -> Argument<'_, R::Memory> {
        Argument::Writes(&mut self.memory)
    }
}

/// Two floats, as CUDA's `float2`: a complex number or a point.
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Float2 {
    /// First, or real part.
    pub x: f32,
    /// Second, or imaginary part.
    pub y: f32,
}
