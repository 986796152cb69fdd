//! The choice of a curvature of the Ewald sphere, for jobs that make maps of images.

use vitreous_model::choices;
use vitreous_model::ewald::Curvature;

choices! {
    /// Which curvature of the Ewald sphere is corrected for.
    pub enum Ewald {
        /// None: slices are flat.
        #[default] None = "none",
        /// The defocus falls towards the viewer: images as seen from the source.
        Forward = "forward",
        /// The defocus grows towards the viewer: images as seen from the detector.
        Reversed = "reversed",
    }
}

impl Ewald {
    /// The curvature, if one is to be corrected for.
    pub fn curvature(self) -> Option<Curvature> {
        match self {
            Self::None => None,
            Self::Forward => Some(Curvature::Forward),
            Self::Reversed => Some(Curvature::Reversed),
        }
    }
}
