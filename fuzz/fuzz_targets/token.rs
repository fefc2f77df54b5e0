//! Join tokens: any text gives a token or an error, never a panic; what was read can be written
//! and read again; the secret stays out of debug output.
#![no_main]

use edgeflow_proto::JoinToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<JoinToken>() {
        Ok(token) => {
            assert_eq!(token.to_string().parse(), Ok(token.clone()));
            // A secret that is part of a public field shows with that field.
            let public = format!("{} {} JoinToken ca_sha256 id", token.ca_sha256, token.id);
            let debug = format!("{token:?}");
            assert!(public.contains(&token.secret) || !debug.contains(&token.secret));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
