//! Lines of words, quoted as Redis quotes them: in configuration files, in the first line of a script.

/// Splits a line into words: blanks part them; in double quotes, `\n \r \t \a \b \xHH` and any escaped byte;
/// in single quotes, `\'`. A closing quote must end its word. `None` when quotes are not balanced.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = take_word(rest)?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Some(words)
}

/// A word, in quotes where it needs them. What is no UTF-8 is spelled in hexadecimal digits, so that the line is text.
pub fn quote(word: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\'' && b != b'\\';
    if let Ok(text) = std::str::from_utf8(word)
        && !word.is_empty()
        && !word.starts_with(b"#")
        && word.iter().all(|b| plain(*b) || *b >= 0x80)
    {
        return text.into();
    }
    let mut quoted = String::from('"');
    for chunk in word.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => quoted.extend(['\\', char]),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                _ if char.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", char as u32)),
                _ => quoted.push(char),
            }
        }
        chunk.invalid().iter().for_each(|byte| quoted.push_str(&format!("\\x{byte:02x}")));
    }
    quoted.push('"');
    quoted
}

fn take_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = take_double_quoted(text, at + 1, &mut word)?;
                return ends_word(text, at).then(|| (word, &text[at..]));
            }
            b'\'' => {
                at = take_single_quoted(text, at + 1, &mut word)?;
                return ends_word(text, at).then(|| (word, &text[at..]));
            }
            _ if is_blank(byte) => break,
            _ => {
                word.push(byte);
                at += 1;
            }
        }
    }
    Some((word, &text[at..]))
}

/// Reads up to the closing quote; gives the place after it.
fn take_double_quoted(text: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match &text[at..] {
            [b'"', ..] => return Some(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    other => *other,
                });
                at += 2;
            }
            [byte, ..] => {
                word.push(*byte);
                at += 1;
            }
            [] => return None,
        }
    }
}

fn take_single_quoted(text: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match &text[at..] {
            [b'\'', ..] => return Some(at + 1),
            [b'\\', b'\'', ..] => {
                word.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                word.push(*byte);
                at += 1;
            }
            [] => return None,
        }
    }
}

fn ends_word(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|&byte| is_blank(byte))
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0 || byte == 0x0b
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        let words: [&[u8]; 8] = [
            b"plain",
            b"",
            b"#x",
            b"two words",
            b"\"'\\",
            b"a\n\r\t\x01",
            "snow \u{2603}".as_bytes(),
            b"~\xff\xfe*",
        ];
        let line = words.map(quote).join("  ");
        assert_eq!(split(line.as_bytes()).expect("balanced"), words);
        assert_eq!(quote(b"~\xff*"), "\"~\\xff*\"");
        assert_eq!(
            split(b" a 'it\\'s' \"\\x41\\a\""),
            Some(vec![b"a".to_vec(), b"it's".to_vec(), b"A\x07".to_vec()])
        );
        assert_eq!(split(b"a 'b"), None);
        assert_eq!(split(b"\"a\"b"), None);
    }
}
