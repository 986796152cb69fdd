//! EER movies: how many camera frames become one frame of the movie, and what size it has.

use super::run::{Movie, Shape};
use crate::StageError;
use std::path::Path;
use vitreous_jobs::import_movies::ImportMovies;
use vitreous_model::exposure::EerRendering;
use vitreous_model::params::BadParam;

/// Whether a movie is of electron events; its header then tells of the camera's frames.
fn is_eer(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("eer"))
}

/// Turns the camera frames that EER movies were registered with into the frames that they will be read as; other movies
/// stay as they are.
///
/// # Errors
/// No grouping is given, or none that leaves a frame, or the dose from which it would follow is not known.
pub fn render(params: &ImportMovies, movies: &mut [Movie]) -> Result<(), StageError> {
    for movie in movies.iter_mut().filter(|movie| is_eer(&movie.path)) {
        let grouping = grouping(params, movie)?;
        let upsampling = params.eer_upsampling;
        let Shape { width, height, frames } = movie.header.shape;
        let rendered = frames / grouping as usize;
        if rendered == 0 {
            let why = format!("leaves no frame of the {frames} of {}", movie.path.display());
            return Err(BadParam::new("eer_grouping", grouping, why).into());
        }
        let scale = upsampling as usize;
        movie.header.shape = Shape { width: width * scale, height: height * scale, frames: rendered };
        movie.header.pixel_size_a = movie.header.pixel_size_a.map(|pixel| pixel / f64::from(upsampling));
        movie.eer = Some(EerRendering { upsampling, grouping });
    }
    Ok(())
}

/// Camera frames of one frame: as given, or those that come nearest to the dose asked for.
fn grouping(params: &ImportMovies, movie: &Movie) -> Result<u32, StageError> {
    if let Some(grouping) = params.eer_grouping {
        return Ok(grouping);
    }
    let Some(wanted) = params.eer_dose_per_fraction else {
        return Err(BadParam::new("eer_grouping", "", "is required for EER movies")
            .hint("give --eer-grouping, or --eer-dose-per-fraction with --total-dose (about 1 e/Å² is usual)")
            .into());
    };
    let stated = movie.acquisition.as_ref().and_then(|a| a.total_dose);
    let total = params.total_dose.or(stated).filter(|total| *total > 0.0).ok_or_else(|| {
        BadParam::new("eer_dose_per_fraction", wanted, "needs the total dose, which is not known")
            .hint("give --total-dose, or --eer-grouping")
    })?;
    Ok((wanted * movie.recorded_frames as f64 / total).round().max(1.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::super::run::Header;
    use super::*;

    fn movie(path: &str) -> Movie {
        let shape = Shape { width: 4096, height: 4096, frames: 1001 };
        let header = Header { shape, pixel_size_a: Some(0.8) };
        Movie { eer: None, recorded_frames: 1001, ..Movie::new(path.into(), header, None) }
    }

    #[test]
    fn camera_frames_become_frames_of_the_movie() {
        let mut movies = [movie("a.eer"), movie("b.tif")];
        let params = ImportMovies {
            eer_upsampling: 2,
            eer_dose_per_fraction: Some(1.0),
            total_dose: Some(50.05),
            ..ImportMovies::default()
        };
        render(&params, &mut movies).unwrap();
        assert_eq!(movies[0].header.shape, Shape { width: 8192, height: 8192, frames: 50 });
        assert_eq!(movies[0].eer, Some(EerRendering { upsampling: 2, grouping: 20 }));
        assert_eq!((movies[0].header.pixel_size_a, movies[1].eer), (Some(0.4), None));
        assert_eq!(movies[1], movie("b.tif"));
    }

    #[test]
    fn a_grouping_is_required_and_must_leave_frames() {
        let refused = |params: ImportMovies| render(&params, &mut [movie("a.eer")]).unwrap_err().to_string();
        assert!(refused(ImportMovies::default()).contains("`eer_grouping`: is required"));
        let dose = ImportMovies { eer_dose_per_fraction: Some(1.0), ..ImportMovies::default() };
        assert!(refused(dose).contains("needs the total dose"));
        let many = ImportMovies { eer_grouping: Some(1002), ..ImportMovies::default() };
        assert!(refused(many).contains("leaves no frame"));
    }
}
