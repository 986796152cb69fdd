//! Which exposure a file's or a program's name of a micrograph means.

use std::collections::HashMap;
use vitreous_formats::star::convert::exposure_name;
use vitreous_model::exposure::ExposureSet;

/// Names of exposures and of their files, and the exposure each belongs to.
pub(crate) struct Names {
    exposures: HashMap<String, usize>,
}

impl Names {
    /// All exposures by their own name and by the stems of their micrograph and movie.
    pub fn of(set: &ExposureSet) -> Self {
        let mut exposures = HashMap::new();
        for (index, exposure) in set.exposures.iter().enumerate() {
            let files = [
                exposure.micrograph.as_ref().map(|m| exposure_name(&m.path)),
                exposure.movie.as_ref().map(|m| exposure_name(&m.path)),
            ];
            for file in files.into_iter().flatten() {
                exposures.entry(file).or_insert(index);
            }
        }
        // an exposure's own name goes before the stem of another's file
        exposures.extend(set.exposures.iter().enumerate().map(|(index, e)| (e.name.clone(), index)));
        Self { exposures }
    }

    /// The exposure that `path` names: its stem, or the longest part of it that is a name and stands between separators
    /// (`NAME_autopick`, `000123_NAME_patch_aligned`).
    pub fn find(&self, path: &str) -> Option<usize> {
        let stem = exposure_name(path);
        if let Some(index) = self.exposures.get(&stem) {
            return Some(*index);
        }
        let is_edge = |c: char| !c.is_alphanumeric();
        let starts: Vec<usize> = std::iter::once(0)
            .chain(stem.char_indices().filter(|(_, c)| is_edge(*c)).map(|(at, c)| at + c.len_utf8()))
            .collect();
        let ends: Vec<usize> = stem
            .char_indices()
            .filter(|(_, c)| is_edge(*c))
            .map(|(at, _)| at)
            .chain(std::iter::once(stem.len()))
            .collect();
        let parts = starts.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to)));
        parts
            .filter(|(from, to)| from < to)
            .filter_map(|(from, to)| Some((to - from, *self.exposures.get(&stem[from..to])?)))
            .max_by_key(|(length, index)| (*length, std::cmp::Reverse(*index)))
            .map(|(_, index)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Names {
        Names { exposures: of.iter().enumerate().map(|(i, name)| (name.to_string(), i)).collect() }
    }

    #[test]
    fn the_longest_name_between_separators_is_meant() {
        let names = names(&["mic_1", "mic_12", "mic_1_b", "FoilHole_1-2"]);
        for (path, expected) in [
            ("AutoPick/raw/mic_1.star", Some(0)),
            ("mic_1_autopick.star", Some(0)),
            ("mic_12_autopick.star", Some(1)),
            ("mic_1_b_autopick.star", Some(2)),
            ("J3/000123_FoilHole_1-2_patch_aligned.mrc", Some(3)),
            ("mic_123.box", None),
            ("amic_1.box", None),
            ("", None),
        ] {
            assert_eq!(names.find(path), expected, "{path}");
        }
    }
}
