//! Object definition files.
#![no_main]

use godwit_lwm2m::model::load_ddf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    if let Err(error) = load_ddf(document) {
        assert!(error.offset <= document.len() && error.line >= 1);
    }
});
