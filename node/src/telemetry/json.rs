//! JSON straight into a byte buffer: no intermediate tree, no allocation besides the buffer's.

use std::{fmt, io::Write};

use data_encoding::BASE64;
use serde::Serialize;

/// Writes one JSON value after the other into a buffer.
///
/// The caller writes members in order; commas come by themselves.
pub(super) struct Json<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Json<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Json<'a> {
        Json { out }
    }

    /// Writes `{`, what `members` writes, and `}`.
    pub(super) fn object(&mut self, members: impl FnOnce(&mut Json<'_>)) {
        self.out.push(b'{');
        members(self);
        self.out.push(b'}');
    }

    /// Writes `[`, what `items` writes with [`item`](Json::item), and `]`.
    pub(super) fn array(&mut self, items: impl FnOnce(&mut Json<'_>)) {
        self.out.push(b'[');
        items(self);
        self.out.push(b']');
    }

    /// A member's name, which is escaped; its value must follow.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        self.comma();
        self.text(name);
        self.out.push(b':');
        self
    }

    /// A member's name that needs no escapes.
    pub(super) fn plain_name(&mut self, name: impl fmt::Display) -> &mut Self {
        self.comma();
        self.plain(name);
        self.out.push(b':');
        self
    }

    /// The place of an array's next item.
    pub(super) fn item(&mut self) -> &mut Self {
        self.comma();
        self
    }

    /// A string.
    pub(super) fn text(&mut self, text: &str) {
        self.scalar(text);
    }

    /// A string that needs no escapes: a path, an id, a number.
    pub(super) fn plain(&mut self, text: impl fmt::Display) {
        self.out.push(b'"');
        self.display(text);
        self.out.push(b'"');
    }

    /// A number, a boolean.
    pub(super) fn scalar(&mut self, value: impl Serialize) {
        serde_json::to_writer(&mut *self.out, &value)
            .expect("invariant: a Vec takes every scalar and string");
    }

    /// An integer: a number up to 2⁵³, which every reader's doubles hold, a string beyond.
    pub(super) fn integer(&mut self, value: i128) {
        const EXACT: u128 = 1 << 53;
        if value.unsigned_abs() <= EXACT { self.display(value) } else { self.plain(value) }
    }

    /// A float; JSON has no infinities and no NaN, which are the strings "Infinity", "-Infinity" and "NaN".
    pub(super) fn float(&mut self, value: f64) {
        if value.is_finite() {
            self.scalar(value);
        } else if value.is_nan() {
            self.plain("NaN");
        } else {
            self.plain(if value > 0.0 { "Infinity" } else { "-Infinity" });
        }
    }

    /// Bytes in base64 (RFC 4648 §4) with padding.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + BASE64.encode_len(bytes.len()), 0);
        BASE64.encode_mut(bytes, &mut self.out[start..]);
        self.out.push(b'"');
    }

    /// JSON null.
    pub(super) fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn display(&mut self, value: impl fmt::Display) {
        write!(self.out, "{value}").expect("invariant: a Vec takes every byte");
    }

    fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }
}

/// Unix milliseconds as RFC 3339 in UTC, "2026-01-31T23:59:59.007Z".
pub(super) struct Rfc3339(pub(super) u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the leap day is a
/// year's last, in eras of 400 years, which all have as many days.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let since_march_of_0 = days + 719_468;
    let (era, day) = (since_march_of_0 / ERA, since_march_of_0 % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let january_on = u64::from(month >= 10);
    (era * 400 + year + january_on, if month < 10 { month + 3 } else { month - 9 }, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Json<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Json::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_those_of_date() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_007, "2000-03-01T00:00:00.007Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Rfc3339(millis).to_string(), text);
        }
    }

    #[test]
    fn integers_that_a_double_cannot_hold_are_strings() {
        for (value, json) in [
            (0, "0"),
            (-1, "-1"),
            (1 << 53, "9007199254740992"),
            ((1 << 53) + 1, "\"9007199254740993\""),
            (-(1 << 53), "-9007199254740992"),
            (-(1 << 53) - 1, "\"-9007199254740993\""),
            (i128::from(u64::MAX), "\"18446744073709551615\""),
        ] {
            assert_eq!(written(|to| to.integer(value)), json);
        }
    }

    #[test]
    fn floats_that_json_lacks_are_strings() {
        assert_eq!(written(|to| to.float(21.5)), "21.5");
        assert_eq!(written(|to| to.float(1e300)), "1e+300");
        assert_eq!(written(|to| to.float(f64::NAN)), "\"NaN\"");
        assert_eq!(written(|to| to.float(f64::NEG_INFINITY)), "\"-Infinity\"");
    }

    #[test]
    fn members_and_items_are_parted_by_commas() {
        let json = written(|to| {
            to.object(|to| {
                to.name("a\"b").array(|to| {
                    to.item().text("x\n");
                    to.item().bytes(&[0xff, 0xfe]);
                    to.item().object(|_| {});
                    to.item().null();
                });
                to.plain_name(7).scalar(true);
            });
        });
        assert_eq!(json, r#"{"a\"b":["x\n","//4=",{},null],"7":true}"#);
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}
