//! LwM2M TLV (11542).

#![no_main]

#[path = "support/format.rs"]
mod format;

use godwit_lwm2m::format::ContentFormat;

libfuzzer_sys::fuzz_target!(|data: &[u8]| format::check(ContentFormat::Tlv, data));
