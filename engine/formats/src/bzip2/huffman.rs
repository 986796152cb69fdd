//! The bits of a block and the codes that its symbols are written in.

/// Longest code, bits.
pub const MAX_CODE_BITS: u32 = 20;
/// Codes of up to so many bits are looked up at once; nearly all are.
const LOOKUP_BITS: u32 = 10;
/// Most symbols of an alphabet: 256 bytes, of which one less can be moved to the front, two for runs, one for the end.
pub const MAX_SYMBOLS: usize = 258;

/// Reads bits, the most significant first; zeros after the last byte.
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The byte after those in `window`.
    next: usize,
    /// The next bits, the first highest.
    window: u64,
    /// How many of them count.
    count: u32,
}

impl<'a> Bits<'a> {
    /// From bit `at` of `bytes` on.
    pub fn new(bytes: &'a [u8], at: u64) -> Self {
        let mut bits = Self { bytes, next: (at / 8) as usize, window: 0, count: 0 };
        bits.refill();
        bits.skip((at % 8) as u32);
        bits
    }

    /// Makes at least 56 bits ready, enough for two codes.
    #[inline(always)]
    pub fn refill(&mut self) {
        if let Some(chunk) = self.bytes.get(self.next..).and_then(|rest| rest.first_chunk()) {
            self.window |= u64::from_be_bytes(*chunk) >> self.count;
            self.next += (63 - self.count as usize) / 8;
            self.count |= 56;
            return;
        }
        while self.count <= 56 {
            let byte = self.bytes.get(self.next).copied().unwrap_or(0);
            self.window |= u64::from(byte) << (56 - self.count);
            self.next += 1;
            self.count += 8;
        }
    }

    /// The next bits, as many as are ready, the first highest.
    #[inline(always)]
    fn peek(&self) -> u64 {
        self.window
    }

    /// Goes on by up to as many bits as are ready.
    #[inline(always)]
    fn skip(&mut self, bits: u32) {
        self.window <<= bits;
        self.count -= bits;
    }

    /// The next 1 to 32 bits as a number.
    pub fn take(&mut self, bits: u32) -> u32 {
        self.refill();
        let value = (self.window >> (64 - bits)) as u32;
        self.skip(bits);
        value
    }

    /// Where the next bit is, counted from the first byte.
    pub fn position(&self) -> u64 {
        8 * self.next as u64 - u64::from(self.count)
    }
}

/// A canonical code.
pub struct Code {
    /// For the next [`LOOKUP_BITS`] bits: a symbol and above it nothing, below the length of its code (five bits); 0: the
    /// code is longer.
    lookup: Vec<u16>,
    /// By length: the first code, and how many there are.
    first: [u32; MAX_CODE_BITS as usize + 1],
    count: [u32; MAX_CODE_BITS as usize + 1],
    /// By length: the place of the first code's symbol in `symbols`.
    place: [u32; MAX_CODE_BITS as usize + 1],
    /// The symbols by rising code.
    symbols: Vec<u16>,
}

impl Code {
    /// From the lengths of the symbols' codes, each 1 to [`MAX_CODE_BITS`] bits.
    ///
    /// # Errors
    /// Lengths that no code has.
    pub fn new(lengths: &[u8]) -> Result<Self, String> {
        let mut code = Self {
            lookup: vec![0; 1 << LOOKUP_BITS],
            first: [0; MAX_CODE_BITS as usize + 1],
            count: [0; MAX_CODE_BITS as usize + 1],
            place: [0; MAX_CODE_BITS as usize + 1],
            symbols: Vec::with_capacity(lengths.len()),
        };
        let mut next = 0u32;
        for bits in 1..=MAX_CODE_BITS {
            next <<= 1;
            (code.first[bits as usize], code.place[bits as usize]) = (next, code.symbols.len() as u32);
            for symbol in (0..lengths.len()).filter(|&symbol| u32::from(lengths[symbol]) == bits) {
                if next >= 1 << bits {
                    return Err("the lengths of its codes contradict each other".into());
                }
                if bits <= LOOKUP_BITS {
                    let free = LOOKUP_BITS - bits;
                    let entries = (next as usize) << free..(next as usize + 1) << free;
                    code.lookup[entries].fill((symbol as u16) << 5 | bits as u16);
                }
                code.symbols.push(symbol as u16);
                next += 1;
            }
            code.count[bits as usize] = next - code.first[bits as usize];
        }
        Ok(code)
    }

    /// The next symbol; `None` if the bits are none of its codes. At least [`MAX_CODE_BITS`] bits are ready.
    #[inline(always)]
    pub fn symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let entry = self.lookup[(bits.peek() >> (64 - LOOKUP_BITS)) as usize];
        if entry != 0 {
            bits.skip(u32::from(entry & 31));
            return Some(entry >> 5);
        }
        self.long_symbol(bits)
    }

    #[cold]
    fn long_symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        for length in LOOKUP_BITS + 1..=MAX_CODE_BITS {
            let code = (bits.peek() >> (64 - length)) as u32;
            let above = code.wrapping_sub(self.first[length as usize]);
            if above < self.count[length as usize] {
                bits.skip(length);
                return self.symbols.get((self.place[length as usize] + above) as usize).copied();
            }
        }
        None
    }
}
