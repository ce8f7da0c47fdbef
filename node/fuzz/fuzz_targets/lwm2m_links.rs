//! Link format: what is read is read again as written.
#![no_main]

use godwit_lwm2m::{attributes::LinkAttributes, link};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(links) = link::parse(payload) else { return };
    for link in &links {
        let _ = LinkAttributes::from_link(link);
    }
    let written = link::write(&links);
    assert_eq!(link::parse(written.as_bytes()).as_ref(), Ok(&links));
});
