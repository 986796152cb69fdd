//! The columns of a contrast transfer function, shared by exposures and particles.

use super::{ColumnDef, GroupReader, Table, TableError};
use vitreous_model::ctf::CtfParams;
use vitreous_model::units::{Degrees, Kilovolt, Millimetre};

const DEFOCUS_U: ColumnDef = ColumnDef::new(
    "defocus_u_a",
    "Å",
    "Defocus along the astigmatism angle, underfocus positive; NaN: no CTF",
);
const DEFOCUS_V: ColumnDef =
    ColumnDef::new("defocus_v_a", "Å", "Defocus at right angles to the astigmatism angle");
const ANGLE: ColumnDef =
    ColumnDef::new("astigmatism_angle_deg", "°", "Angle from the x axis to the direction of defocus_u_a");
const PHASE: ColumnDef = ColumnDef::new("phase_shift_deg", "°", "Phase shift of a phase plate");
const VOLTAGE: ColumnDef = ColumnDef::new("ctf_voltage_kv", "kV", "Acceleration voltage of the CTF");
const CS: ColumnDef = ColumnDef::new("ctf_cs_mm", "mm", "Spherical aberration of the CTF");
const AMPLITUDE: ColumnDef = ColumnDef::new("ctf_amplitude_contrast", "", "Amplitude contrast as a fraction");

/// Adds the seven columns; NaN where there is no CTF.
pub(super) fn push<'a>(table: &mut Table, rows: impl Iterator<Item = Option<&'a CtfParams>> + Clone) {
    let mut column = |def, value: fn(&CtfParams) -> f64| {
        table.f64(def, rows.clone().map(|ctf| ctf.map_or(f64::NAN, value)));
    };
    column(DEFOCUS_U, |ctf| ctf.defocus_u_a);
    column(DEFOCUS_V, |ctf| ctf.defocus_v_a);
    column(ANGLE, |ctf| ctf.astigmatism_angle.0);
    column(PHASE, |ctf| ctf.phase_shift.0);
    column(VOLTAGE, |ctf| ctf.voltage.0);
    column(CS, |ctf| ctf.cs.0);
    column(AMPLITUDE, |ctf| ctf.amplitude_contrast);
}

/// Reads them back.
pub(super) fn read(group: &GroupReader<'_>) -> Result<Vec<Option<CtfParams>>, TableError> {
    let (u, v, angle) = (group.f64(DEFOCUS_U)?, group.f64(DEFOCUS_V)?, group.f64(ANGLE)?);
    let (phase, voltage) = (group.f64(PHASE)?, group.f64(VOLTAGE)?);
    let (cs, amplitude) = (group.f64(CS)?, group.f64(AMPLITUDE)?);
    let row = |i: usize| {
        (!u[i].is_nan()).then(|| CtfParams {
            defocus_u_a: u[i],
            defocus_v_a: v[i],
            astigmatism_angle: Degrees(angle[i]),
            phase_shift: Degrees(phase[i]),
            voltage: Kilovolt(voltage[i]),
            cs: Millimetre(cs[i]),
            amplitude_contrast: amplitude[i],
            even: Default::default(),
        })
    };
    Ok((0..group.rows()).map(row).collect())
}
