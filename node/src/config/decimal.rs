//! The decimal numbers that spans and sizes begin with.

/// A leading decimal number and what follows it, trimmed.
pub(super) fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

/// `number * scale` in whole units, with up to nine decimals.
pub(super) fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let tens = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let scale = u128::from(scale);
    let part = fraction.parse::<u128>().ok()? * scale / tens;
    u64::try_from(u128::from(whole.parse::<u64>().ok()?) * scale + part).ok()
}
