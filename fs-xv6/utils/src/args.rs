// SPDX-License-Identifier: GPL-2.0

//! Values on command lines.

use xv6::layout::BLOCK_SIZE;

/// A number with an optional suffix K, M, G or T (powers of 1024).
fn suffixed(text: &str) -> Result<(u64, Option<u64>), String> {
    let unit = match text.as_bytes().last() {
        Some(b'k' | b'K') => Some(1 << 10),
        Some(b'm' | b'M') => Some(1 << 20),
        Some(b'g' | b'G') => Some(1 << 30),
        Some(b't' | b'T') => Some(1u64 << 40),
        _ => None,
    };
    let digits = match unit {
        Some(_) => text.get(..text.len() - 1).unwrap_or_default(),
        None => text,
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is not a number with an optional suffix K, M, G or T"))?;
    Ok((number, unit))
}

/// A size in bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = suffixed(text)?;
    number
        .checked_mul(unit.unwrap_or(1))
        .ok_or_else(|| format!("`{text}` is too large"))
}

/// A size in blocks: a plain number counts blocks, one with a suffix bytes.
pub fn blocks(text: &str) -> Result<u64, String> {
    let (number, unit) = suffixed(text)?;
    match unit {
        None => Ok(number),
        Some(unit) => number
            .checked_mul(unit)
            .map(|bytes| bytes / BLOCK_SIZE as u64)
            .ok_or_else(|| format!("`{text}` is too large")),
    }
}

/// The size of a journal in blocks: a plain number counts MiB, as mke2fs has it.
pub fn journal(text: &str) -> Result<u64, String> {
    let size = text.strip_prefix("size=").ok_or("expected size=...")?;
    match suffixed(size)? {
        (number, None) => number.checked_mul(1 << 20),
        (number, Some(unit)) => number.checked_mul(unit),
    }
    .map(|bytes| bytes / BLOCK_SIZE as u64)
    .ok_or_else(|| format!("`{size}` is too large"))
}

/// A UUID, as `01234567-89ab-cdef-0123-456789abcdef`; `random` for [`None`].
pub fn uuid(text: &str) -> Result<[u8; 16], String> {
    let wrong = || format!("`{text}` is not a UUID");
    let shape: Vec<usize> = text.split('-').map(str::len).collect();
    if shape != [8, 4, 4, 4, 12] || !text.is_ascii() {
        return Err(wrong());
    }
    let digits = text.replace('-', "");
    let number = u128::from_str_radix(&digits, 16).map_err(|_| wrong())?;
    Ok(number.to_be_bytes())
}

/// A UUID in its usual form.
pub fn format_uuid(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(from, to)| &hex[from..to]).join("-")
}
