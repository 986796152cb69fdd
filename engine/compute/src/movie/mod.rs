//! What the operation families of movies share: frames in memory, the detector, the motion of a frame, the kernel that frames
//! are read with between their pixels.

pub mod detector;
pub mod field;
pub mod frame;
pub mod kernel;
pub mod rows;
