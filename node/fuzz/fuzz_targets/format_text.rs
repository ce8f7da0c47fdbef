//! Text, link format and bytes (0, 40, 42).

#![no_main]

#[path = "support/format.rs"]
mod format;

use godwit_lwm2m::format::ContentFormat;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    format::check(ContentFormat::Text, data);
    format::check(ContentFormat::CoreLink, data);
    format::check(ContentFormat::Opaque, data);
});
