//! `vitreous init`: makes a project.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::json;
use std::path::PathBuf;
use vitreous_model::exit;
use vitreous_project::{Microscope, Project, ProjectFile};

pub const ABOUT: &str = "Make a project";
pub const EXAMPLES: &str = "  vitreous init T20S --pixel-size 0.6575 --voltage 300 --cs 2.7";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder to make; may exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Name for people [default: the folder's]
    #[arg(long)]
    name: Option<String>,
    /// Pixel size of the movies
    #[arg(long, value_name = "Å")]
    pixel_size: Option<f64>,
    /// Acceleration voltage
    #[arg(long, value_name = "kV")]
    voltage: Option<f64>,
    /// Spherical aberration
    #[arg(long, value_name = "mm")]
    cs: Option<f64>,
    /// Amplitude contrast, as a fraction; 0.1 is the field's convention for single particles in ice
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    amplitude_contrast: f64,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &mut Context<'_>, args: &Arguments) -> Outcome<i32> {
    for (flag, value) in [("pixel-size", args.pixel_size), ("voltage", args.voltage)] {
        if value.is_some_and(|value| !(value > 0.0 && value.is_finite())) {
            return Err(Failure::usage(format!("--{flag} must be positive")));
        }
    }
    if args.cs.is_some_and(|cs| !(cs >= 0.0 && cs.is_finite())) {
        return Err(Failure::usage("--cs must not be negative"));
    }
    if !(0.0..=1.0).contains(&args.amplitude_contrast) {
        return Err(Failure::usage("--amplitude-contrast must lie between 0 and 1"));
    }
    let folder = context.cwd.join(&args.folder);
    let named = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or(named).unwrap_or_else(|| "project".into());
    let microscope = Microscope {
        pixel_size_a: args.pixel_size,
        voltage_kv: args.voltage,
        cs_mm: args.cs,
        amplitude_contrast: Some(args.amplitude_contrast),
    };
    if args.dry_run {
        let text = || format!("would make project {name} in {}", folder.display());
        context.screen.result(&json!({"project": folder, "name": name, "dry_run": true}), text)?;
        return Ok(exit::OK);
    }
    let project = Project::init(&folder, ProjectFile::new(&name, microscope))?;
    let result = json!({"project": project.root(), "name": name, "uuid": project.file().uuid});
    context.screen.result(&result, || format!("project {name} in {}", project.root().display()))?;
    Ok(exit::OK)
}
