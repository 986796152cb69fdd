//! A fingerprint of JSON-like values: the same for the same content on every host and in every version.

use serde_json::Value;

/// 128-bit FNV-1a (Fowler, Noll, Vo; constants of draft-eastlake-fnv) over a canonical form. It tells apart what
/// changed by accident or intent; it does not withstand an attacker, and need not.
#[derive(Debug, Clone)]
pub struct Fingerprint(u128);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fingerprint {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    /// Adds bytes, with their length, so that `ab`+`c` and `a`+`bc` differ.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
        self
    }

    /// Adds a value; the order of keys does not matter, and `1` equals `1.0`.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.bytes(b"null"),
            Value::Bool(b) => self.bytes(if *b { b"true" } else { b"false" }),
            Value::Number(n) => match n.as_f64() {
                Some(x) if x.fract() == 0.0 && x.abs() < 9e15 => {
                    self.bytes(format!("{}", x as i64).as_bytes())
                }
                _ => self.bytes(n.to_string().as_bytes()),
            },
            Value::String(text) => self.bytes(b"\"").bytes(text.as_bytes()),
            Value::Array(items) => {
                self.bytes(format!("[{}", items.len()).as_bytes());
                for item in items {
                    self.value(item);
                }
                self
            }
            Value::Object(map) => {
                self.bytes(format!("{{{}", map.len()).as_bytes());
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by_key(|(key, _)| key.as_str());
                for (key, item) in keys {
                    self.bytes(key.as_bytes()).value(item);
                }
                self
            }
        }
    }

    /// 32 hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.0)
    }
}

/// The fingerprint of one value.
pub fn of(value: &Value) -> String {
    Fingerprint::default().value(value).hex()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_keys_and_form_of_numbers_do_not_matter_but_content_does() {
        let a: Value = serde_json::from_str(r#"{"x": 1, "y": [true, null]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"y": [true, null], "x": 1.0}"#).unwrap();
        assert_eq!(of(&a), of(&b));
        assert_ne!(of(&a), of(&json!({"x": 1, "y": [true]})));
        assert_ne!(of(&json!(["ab", "c"])), of(&json!(["a", "bc"])));
        assert_ne!(of(&json!("1")), of(&json!(1)));
    }
}
