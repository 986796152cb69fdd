//! Decoding of LZW as TIFF packs it: codes of 9 to 12 bits, most significant bit first, which grow one code early (TIFF
//! 6.0, section 13).
//!
//! A string of the table is one code's string and the first byte of the next code's, and these stand side by side in
//! what has been decoded; so the table holds places in the output, not chains of bytes, and a code is one short copy.

/// Code that empties the table.
const CLEAR: usize = 256;
/// Code that ends the stream.
const END: usize = 257;
/// Bits of the first codes.
const FIRST_WIDTH: u32 = 9;
/// Bits of the longest codes.
const LAST_WIDTH: u32 = 12;
/// Codes there can be. One more place takes what no longer fits.
const CODES: usize = 1 << LAST_WIDTH;
/// Bytes that one copy moves: most strings of a movie's counts are shorter.
const CHUNK: usize = 16;
/// The 256 strings of one byte stand before the output.
const BYTES: usize = 256;

/// Where a code's string stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: u32,
    length: u32,
}

/// Decodes streams; holds the table and the output between them.
pub struct Decoder {
    /// One place for each code, and a spare one.
    table: Vec<Place>,
    /// Every byte once, what has been decoded, and room for one string and copies beyond the end.
    buffer: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        let mut table = vec![Place::default(); CODES + 1];
        for (byte, place) in table.iter_mut().take(BYTES).enumerate() {
            *place = Place { start: byte as u32, length: 1 };
        }
        Self { table, buffer: (0..=u8::MAX).collect() }
    }
}

impl Decoder {
    /// Decodes `packed` until it ends or `out` is full; the bytes written.
    ///
    /// # Errors
    /// A code that is not in the table, with the byte of `packed` where it stands.
    pub fn decode(&mut self, packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
        let end = BYTES + out.len();
        if end > u32::MAX as usize {
            return Err(format!("a strip of {} bytes; at most 4 GiB can be read", out.len()));
        }
        self.buffer.resize(end + CODES + CHUNK, 0);
        let written = self.decode_into_buffer(packed, end)? - BYTES;
        let written = written.min(out.len());
        out[..written].copy_from_slice(&self.buffer[BYTES..BYTES + written]);
        Ok(written)
    }

    /// The same into the buffer, up to `end` or, by a last string, somewhat further; where it stops.
    fn decode_into_buffer(&mut self, packed: &[u8], end: usize) -> Result<usize, String> {
        let table: &mut [Place; CODES + 1] =
            self.table.as_mut_slice().try_into().expect("the table should have a place for every code");
        let buffer = self.buffer.as_mut_slice();
        let mut bits = Bits { packed, at: 0 };
        let mut at = BYTES;
        // the place that the next string takes: after an empty table the first code has no string before it, and the
        // place of `END`, which is never looked up, takes what would be added
        let (mut next, mut width, mut previous) = (END, FIRST_WIDTH, Place::default());
        while at < end {
            let Some(code) = bits.take(width) else { break };
            if code == CLEAR {
                (next, width, previous) = (END, FIRST_WIDTH, Place::default());
                continue;
            }
            if code == END {
                break;
            }
            if code > next {
                let byte = (bits.at - u64::from(width)) / 8;
                return Err(format!("code {code} at byte {byte}, where there are {next} codes"));
            }
            table[next] = Place { start: previous.start, length: previous.length + 1 };
            let place = table[code];
            let (start, length) = (place.start as usize, place.length as usize);
            let mut copied = 0;
            loop {
                buffer.copy_within(start + copied..start + copied + CHUNK, at + copied);
                copied += CHUNK;
                if copied >= length {
                    break;
                }
            }
            if code == next {
                // the string before and its own first byte, which was not there yet
                buffer[at + length - 1] = buffer[start];
            }
            previous = Place { start: at as u32, length: length as u32 };
            at += length;
            next = (next + 1).min(CODES);
            if next + 1 >= 1 << width && width < LAST_WIDTH {
                width += 1;
            }
        }
        Ok(at)
    }
}

/// Bits of a stream, the most significant of each byte first.
struct Bits<'a> {
    packed: &'a [u8],
    /// Bits taken.
    at: u64,
}

impl Bits<'_> {
    /// The next `width` (at most 12) bits, if there are so many.
    #[inline(always)]
    fn take(&mut self, width: u32) -> Option<usize> {
        let byte = (self.at / 8) as usize;
        let word = match self.packed.get(byte..byte + 4) {
            Some(four) => u32::from_be_bytes([four[0], four[1], four[2], four[3]]),
            None => self.last_word(byte, width)?,
        };
        let used = (self.at % 8) as u32;
        self.at += u64::from(width);
        Some((word << used >> (u32::BITS - width)) as usize)
    }

    /// The last bytes, filled up with zeros.
    #[cold]
    fn last_word(&self, byte: usize, width: u32) -> Option<u32> {
        if self.at + u64::from(width) > 8 * self.packed.len() as u64 {
            return None;
        }
        let mut four = [0; 4];
        let rest = &self.packed[byte..];
        four[..rest.len()].copy_from_slice(rest);
        Some(u32::from_be_bytes(four))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weezl::BitOrder;

    /// What another decoder makes of a stream: the bytes, or none where it finds a mistake.
    fn reference(packed: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
        let (mut out, mut read, mut written) = (vec![0; length], 0, 0);
        while written < length {
            let step = decoder.decode_bytes(&packed[read..], &mut out[written..]);
            read += step.consumed_in;
            written += step.consumed_out;
            match step.status {
                Ok(weezl::LzwStatus::Ok) => {}
                Ok(_) => break,
                Err(_) => return None,
            }
        }
        out.truncate(written);
        Some(out)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        weezl::encode::Encoder::with_tiff_size_switch(BitOrder::Msb, 8).encode(bytes).unwrap()
    }

    fn decoded(packed: &[u8], length: usize) -> Result<Vec<u8>, String> {
        let mut out = vec![0; length];
        let written = Decoder::default().decode(packed, &mut out)?;
        out.truncate(written);
        Ok(out)
    }

    #[test]
    fn the_example_of_the_specification() {
        // TIFF 6.0, section 13: 7 7 7 8 8 7 7 6 6 as Clear 7 258 8 8 258 6 6 End, in 9 bits each
        let codes: [u32; 9] = [256, 7, 258, 8, 8, 258, 6, 6, 257];
        let bits: String = codes.iter().map(|code| format!("{code:09b}")).collect();
        let bytes: Vec<u8> = (0..bits.len().div_ceil(8))
            .map(|i| {
                u8::from_str_radix(&format!("{:0<8}", &bits[8 * i..(8 * i + 8).min(bits.len())]), 2).unwrap()
            })
            .collect();
        assert_eq!(decoded(&bytes, 9).unwrap(), [7, 7, 7, 8, 8, 7, 7, 6, 6]);
    }

    #[test]
    fn runs_make_the_longest_strings() {
        // every code is the one just being made; the strings grow to the length of the table
        for length in [1, 2, 15, 16, 17, 500, 70_000, 8_000_000] {
            let run = vec![9; length];
            assert_eq!(decoded(&packed(&run), length).unwrap(), run, "{length}");
        }
    }

    #[test]
    fn a_code_that_there_is_not_is_refused_with_its_place() {
        // Clear, then 300
        let text = decoded(&[0x80, 0x4b, 0x00, 0x00], 10).unwrap_err();
        assert!(text.contains("code 300 at byte 1"), "{text}");
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            bytes in prop::collection::vec(prop_oneof![8 => 0u8..3, 1 => any::<u8>()], 0..60_000),
        ) {
            prop_assert_eq!(decoded(&packed(&bytes), bytes.len()).unwrap(), bytes);
        }

        #[test]
        fn any_bytes_are_what_another_decoder_makes_of_them(
            head in prop::collection::vec(any::<u8>(), 0..3000),
            has_clear in any::<bool>(),
        ) {
            let mut stream = if has_clear { vec![0x80] } else { vec![] };
            stream.extend(head);
            if let Some(want) = reference(&stream, 5000) {
                let got = decoded(&stream, 5000);
                prop_assert_eq!(got.unwrap(), want);
            }
        }
    }
}
