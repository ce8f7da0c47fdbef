//! The key under which a value is published when a profile names none.

/// A resource's name in camelCase: split at what is not alphanumeric, every word in lower case,
/// capitalised from the second ("UTC Offset" → `utcOffset`).
///
/// Empty when the name has no letter or digit.
pub fn default_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for word in name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        let mut letters = word.chars();
        if key.is_empty() {
            key.extend(word.chars().flat_map(char::to_lowercase));
        } else {
            key.extend(letters.next().into_iter().flat_map(char::to_uppercase));
            key.extend(letters.flat_map(char::to_lowercase));
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_camel_case() {
        for (name, key) in [
            ("UTC Offset", "utcOffset"),
            ("Max Range Value", "maxRangeValue"),
            ("Battery Level", "batteryLevel"),
            ("Reset Min and Max Measured Values", "resetMinAndMaxMeasuredValues"),
            ("Reset Cumulative energy", "resetCumulativeEnergy"),
            ("On/Off", "onOff"),
            ("X Value", "xValue"),
            ("  (GPS) 2nd  fix ", "gps2ndFix"),
            ("—", ""),
        ] {
            assert_eq!(default_key(name), key);
        }
    }
}
