//! Block option values: what is read can be written again, and says nothing impossible.

#![no_main]

use godwit_coap::Block;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let Ok(block) = Block::decode(value) else {
        return;
    };
    assert!(value.len() <= 3 && block.number() <= Block::MAX_NUMBER);
    assert_eq!(Block::decode(&block.bits().to_be_bytes()[1..]), Ok(block));
    assert_eq!(Block::at(block.offset(), block.more(), block.size()), Some(block));
});
