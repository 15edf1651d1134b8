#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tikv_security_fuzz::key_dictionary(bytes));
