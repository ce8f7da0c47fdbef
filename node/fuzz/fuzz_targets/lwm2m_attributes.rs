//! Write-Attributes queries and execute arguments.
#![no_main]

use godwit_lwm2m::{attributes::AttributeChange, operation::Arguments, path::Path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(change) = AttributeChange::parse(text.split('&')) {
        let _ = change.validate(&Path::resource(3303, 0, 5700));
        let queries = change.queries();
        assert_eq!(AttributeChange::parse(queries.iter().map(String::as_str)), Ok(change));
    }
    if let Ok(arguments) = text.parse::<Arguments>() {
        assert_eq!(arguments.to_string(), text);
    }
});
