//! How much every place of a micrograph looks like a bright blob of a given diameter.

use super::shapes::Template;
use crate::picking::binned::Binned;
use ndarray::{Array2, Zip, s};
use vitreous_compute::fourier::{HalfImage, next_5_smooth};

/// The largest response over templates; 1 where one of the shapes stands 1 above its surroundings.
#[derive(Debug, Clone)]
pub(super) struct Response {
    /// Of the shape of the binned micrograph.
    pub most: Array2<f32>,
    /// Which template answers most.
    pub template: Array2<u16>,
}

/// The response to `templates`, of which the largest diameter is `max_diameter_a`.
pub(super) fn blob_response(binned: &Binned, templates: &[Template], max_diameter_a: f64) -> Response {
    let (height, width) = binned.image.dim();
    // mirrored borders keep edges from looking like blobs; the transform is cyclic
    let margin = (max_diameter_a / binned.pixel_size_a).ceil() as usize;
    let (ny, nx) = (next_5_smooth(height + 2 * margin), next_5_smooth(width + 2 * margin));
    let half = HalfImage::of(binned.mirrored(margin, ny, nx).view());
    let mut best = Response {
        most: Array2::from_elem((height, width), f32::NEG_INFINITY),
        template: Array2::zeros((height, width)),
    };
    for (index, template) in (0_u16..).zip(templates) {
        let response = template.response(&half, binned.pixel_size_a);
        let response = response.slice(s![margin..margin + height, margin..margin + width]);
        Zip::from(&mut best.most).and(&mut best.template).and(response).for_each(|most, which, &here| {
            if here > *most {
                (*most, *which) = (here, index);
            }
        });
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitreous_jobs::pick_blobs::PickBlobs;

    fn discs(binned: &Binned, smallest: f64, largest: f64) -> Response {
        blob_response(binned, &Template::all(&PickBlobs::default(), smallest, largest), largest)
    }

    #[test]
    fn a_disc_of_the_diameter_gives_one_at_its_centre() {
        let at = |y: usize, x: usize| (y as f64 - 90.0).hypot(x as f64 - 70.0);
        for (diameter, scales) in [(30.0, (30.0, 30.0)), (40.0, (30.0, 50.0))] {
            let image =
                Array2::from_shape_fn((180, 160), |(y, x)| if at(y, x) < diameter / 2.0 { 1.0 } else { 0.0 });
            let binned = Binned { image, bin: 1, pixel_size_a: 1.0 };
            let response = discs(&binned, scales.0, scales.1);
            let ((y, x), most) = response.most.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            assert_eq!((y, x), (90, 70));
            assert!((0.97..1.02).contains(most), "{diameter}: {most}");
        }
    }

    #[test]
    fn neither_a_ramp_nor_an_edge_is_a_blob() {
        let ramp = Array2::from_shape_fn((200, 220), |(y, x)| 0.01 * x as f32 + 0.02 * y as f32);
        let response = discs(&Binned { image: ramp, bin: 1, pixel_size_a: 1.0 }, 20.0, 20.0).most;
        // the mirrored borders have kinks of slopes 0.01 and 0.02 over a disc of 20 px
        assert!(
            response.iter().all(|v| v.abs() < 0.4),
            "{:?}",
            response.iter().fold(0.0_f32, |a, v| a.max(v.abs()))
        );
    }
}
