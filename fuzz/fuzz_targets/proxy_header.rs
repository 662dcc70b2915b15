#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (fuzzing::target("proxy_header").run)(input));
