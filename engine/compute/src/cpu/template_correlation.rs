//! CPU twin of family `template_correlation`. Contract: [`crate::ops::template_correlation`].

use crate::device::Cpu;
use crate::fourier::HalfImage;
use crate::ops::template_correlation::{
    BestMatch, CorrelationError, CorrelationTile, Search, TemplateCorrelation, Templates,
};
use ndarray::{ArrayView2, Zip, s};
use num_complex::Complex32;
use rayon::prelude::*;

impl TemplateCorrelation for Cpu {
    type Bank = Templates;

    fn bank(&self, templates: Templates) -> Templates {
        templates
    }

    fn best_matches(
        &self,
        bank: &Templates,
        tiles: &[CorrelationTile],
        search: Search<'_>,
    ) -> Result<Vec<BestMatch>, CorrelationError> {
        search.check(bank, tiles)?;
        Ok(tiles.par_iter().map(|tile| best_of_tile(tile, bank, search)).collect())
    }
}

/// The best match at every place of one tile; the search was checked.
pub fn best_of_tile(tile: &CorrelationTile, templates: &Templates, search: Search<'_>) -> BestMatch {
    let mut best = BestMatch::none(tile.size);
    if tile.size.contains(&0) {
        return best;
    }
    let n = templates.tile();
    let ([y, x], [height, width]) = (search.first, tile.size);
    let inside = s![y..y + height, x..x + width];
    let transform = HalfImage::of(tile.pixels.view());
    for (index, &scale) in (0_u32..).zip(search.scales) {
        let template = ArrayView2::from_shape((n, n / 2 + 1), templates.transform(index as usize))
            .expect("a template should have the size of a tile");
        let mut product = transform.clone();
        product.data_mut().zip_mut_with(&template, |value: &mut Complex32, t| *value *= t.conj());
        let pixels = product.into_pixels();
        Zip::from(&mut best.score).and(&mut best.template).and(pixels.slice(inside)).for_each(
            |score, which, &value| {
                if value * scale > *score {
                    (*score, *which) = (value * scale, index);
                }
            },
        );
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity;

    #[test]
    fn parity_on_the_cpu() {
        parity::assert_all(&parity::template_correlation::run(&Cpu));
    }
}
