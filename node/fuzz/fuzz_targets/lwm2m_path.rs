//! LwM2M paths.

#![no_main]

use godwit_lwm2m::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(path) = text.parse::<Path>() {
        assert!(path.to_string() == text || path.to_string().strip_prefix('/') == Some(text));
        assert_eq!(path.to_string().parse(), Ok(path));
    }
});
