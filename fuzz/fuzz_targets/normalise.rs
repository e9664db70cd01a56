#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sudare_fuzz::normalise(input));
