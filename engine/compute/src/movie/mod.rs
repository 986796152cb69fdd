//! What the operation families of movies share: frames in memory, the detector, the motion of a frame, the kernel that frames
//! are read with between their pixels; and the low frequencies from which the motion is found, their power and correlation.

pub mod band;
pub mod correlation_image;
pub mod detector;
pub mod field;
pub mod frame;
pub mod kernel;
pub mod ring_power;
pub mod rows;
