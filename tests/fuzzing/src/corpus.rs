//! Inputs that cargo-fuzz has found to lead somewhere new, kept in one file for each target: a line for each, written as
//! Rust writes bytes between quotes.

use std::fs;
use std::path::Path;

/// The inputs in a file; none if there is no file.
pub fn kept(file: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(read).collect()
}

/// Keeps the inputs in a folder.
pub fn pack(folder: &Path, file: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = paths.map(|path| fs::read(path).unwrap()).collect();
    inputs.sort();
    inputs.dedup();
    let lines = inputs
        .iter()
        .map(|input| format!("{}\n", input.escape_ascii()));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, lines.collect::<String>()).unwrap();
}

/// Writes inputs into a folder, each into a file of its own.
pub fn unpack(inputs: &[Vec<u8>], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (number, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("kept-{number:04}")), input).unwrap();
    }
}

/// What `escape_ascii` has written.
fn read(line: &str) -> Vec<u8> {
    let mut bytes = line.bytes();
    let mut input = Vec::new();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'\\' => match bytes.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let mut digit =
                        || char::from(bytes.next().unwrap()).to_digit(16).unwrap() as u8;
                    digit() << 4 | digit()
                }
                quoted => quoted,
            },
            plain => plain,
        };
        input.push(plain);
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_kept() {
        let input: Vec<u8> = (0..=255).collect();
        assert_eq!(read(&input.escape_ascii().to_string()), input);
    }
}
