//! gzip: user data may be packed, and cloud-init sees that for itself.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// As small as it gets, and the same bytes for the same text: no name and no time is in it.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// Whether bytes begin as gzip does.
pub fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// What was packed; `None` where it is damaged or larger than any user data.
pub fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut unpacked).ok()?;
    (unpacked.len() as u64 <= LARGEST).then_some(unpacked)
}

const LARGEST: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_a_bomb_is_not() {
        let text = b"#cloud-config\n".repeat(1000);
        let packed = pack(&text);
        assert!(is_packed(&packed) && packed.len() < 200 && packed == pack(&text));
        assert_eq!(unpack(&packed), Some(text));
        assert_eq!(unpack(&pack(&vec![0; 9 << 20])), None);
        assert_eq!(unpack(&packed[..packed.len() - 9]), None);
    }
}
