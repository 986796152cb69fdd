//! PNG: grey rasters and coloured maps.

use crate::ReportError;
use std::path::Path;
use vitreous_model::report::Raster;

/// What the bytes of a picture are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pixels<'a> {
    /// One byte a pixel, 0 black.
    Grey(&'a [u8]),
    /// Red, green, blue, opacity.
    Rgba(&'a [u8]),
}

/// Largest edge of a picture we read or write; no figure is near it.
const LARGEST_EDGE: u32 = 1 << 15;

/// A PNG file of `width × height` pixels, the top row first.
///
/// # Errors
/// [`ReportError::Figure`] when the number of pixels is not `width × height`, is zero, or an edge is over 32768.
pub(crate) fn encode(id: &str, width: u32, height: u32, pixels: Pixels<'_>) -> Result<Vec<u8>, ReportError> {
    encode_with_text(id, width, height, pixels, None)
}

/// The same with a text chunk: keyword, text.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_with_text(
    id: &str,
    width: u32,
    height: u32,
    pixels: Pixels<'_>,
    text: Option<(&str, &str)>,
) -> Result<Vec<u8>, ReportError> {
    let (bytes, colour, channels) = match pixels {
        Pixels::Grey(bytes) => (bytes, png::ColorType::Grayscale, 1),
        Pixels::Rgba(bytes) => (bytes, png::ColorType::Rgba, 4),
    };
    let wanted = width as usize * height as usize * channels;
    if wanted == 0 || width > LARGEST_EDGE || height > LARGEST_EDGE || bytes.len() != wanted {
        return Err(ReportError::figure(
            id,
            format!("{width}×{height} pixels need {wanted} bytes, got {}", bytes.len()),
        ));
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    // noise does not compress better with more effort
    encoder.set_compression(png::Compression::Fast);
    let refused =
        |why: png::EncodingError| ReportError::figure(id, format!("cannot be encoded as PNG: {why}"));
    if let Some((keyword, text)) = text {
        encoder.add_itxt_chunk(keyword.into(), text.into()).map_err(refused)?;
    }
    let mut writer = encoder.write_header().map_err(refused)?;
    writer.write_image_data(bytes).map_err(refused)?;
    writer.finish().map_err(refused)?;
    Ok(out)
}

/// The pixels of a grey PNG that [`encode`] wrote.
///
/// # Errors
/// [`ReportError::Png`] when it is no such file, or of another size than `raster`.
pub(crate) fn decode(path: &Path, bytes: &[u8], raster: &Raster) -> Result<Vec<u8>, ReportError> {
    let wrong = |why: String| ReportError::Png {
        path: path.to_path_buf(),
        width: raster.width,
        height: raster.height,
        why,
    };
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let mut reader = decoder.read_info().map_err(|e| wrong(e.to_string()))?;
    let info = reader.info();
    let kind = (info.color_type, info.bit_depth);
    if kind != (png::ColorType::Grayscale, png::BitDepth::Eight) {
        return Err(wrong(format!("it holds {kind:?}")));
    }
    if (info.width, info.height) != (raster.width, raster.height) {
        return Err(wrong(format!("it has {}×{}", info.width, info.height)));
    }
    let size = reader.output_buffer_size().ok_or_else(|| wrong("too large".into()))?;
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels).map_err(|e| wrong(e.to_string()))?;
    Ok(pixels)
}

/// The text of a keyword in a PNG; else why there is none.
pub(crate) fn text(bytes: &[u8], keyword: &str) -> Result<String, String> {
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let reader = decoder.read_info().map_err(|error| error.to_string())?;
    let mut chunks = reader.info().utf8_text.iter();
    let chunk =
        chunks.find(|chunk| chunk.keyword == keyword).ok_or(format!("it has no text chunk `{keyword}`"))?;
    chunk.get_text().map_err(|error| error.to_string())
}

/// A PNG as the `data:` address of an image element.
pub(crate) fn data_uri(png: &[u8]) -> String {
    use base64::Engine;
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_pixels_come_back() {
        let pixels: Vec<u8> = (0..15).map(|i| i * 17).collect();
        let raster = Raster { width: 5, height: 3, ..Default::default() };
        let bytes = encode("a", 5, 3, Pixels::Grey(&pixels)).unwrap();
        assert_eq!(decode(Path::new("a.png"), &bytes, &raster).unwrap(), pixels);
    }

    #[test]
    fn a_wrong_size_or_a_truncated_file_is_an_error() {
        assert!(encode("a", 5, 4, Pixels::Grey(&[0; 15])).is_err());
        assert!(encode("a", 0, 0, Pixels::Grey(&[])).is_err());
        let bytes = encode("a", 4, 4, Pixels::Grey(&[7; 16])).unwrap();
        let raster = Raster { width: 4, height: 4, ..Default::default() };
        for end in 0..bytes.len() - 12 {
            assert!(decode(Path::new("a.png"), &bytes[..end], &raster).is_err(), "{end}");
        }
        let other = Raster { width: 8, height: 2, ..Default::default() };
        let error = decode(Path::new("a.png"), &bytes, &other).unwrap_err().to_string();
        assert!(error.contains("it has 4×4"), "{error}");
        let colour = encode("a", 2, 2, Pixels::Rgba(&[9; 16])).unwrap();
        assert!(
            decode(Path::new("a.png"), &colour, &Raster { width: 2, height: 2, ..Default::default() })
                .is_err()
        );
    }
}
