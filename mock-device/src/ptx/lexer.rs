//! Splits PTX text into tokens.
//!
//! A word keeps its dots and double colons (`ld.shared::cta.u32`, `%tid.x`),
//! because PTX never separates them; the parser takes words apart. Tokens
//! borrow from the source. Nothing here knows the grammar.

use super::PtxError;

/// One token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tok<'a> {
    /// Identifier, opcode with modifiers, or directive with its leading dot.
    Word(&'a str),
    /// Integer; the flag says that a `U` suffix stood there.
    Int(u64),
    /// `0f…`: the bits of an f32.
    F32(u32),
    /// `0d…` or a decimal floating-point literal: the bits of an f64.
    F64(u64),
    /// A quoted string, without its quotes.
    Str(&'a str),
    /// Any other character.
    Punct(char),
    /// End of the text.
    End,
}

/// A token and its line (from 1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) tok: Tok<'a>,
    pub(super) line: u32,
}

/// All tokens of `source`, with an `End` last.
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, PtxError> {
    let mut lexer = Lexer {
        text: source,
        bytes: source.as_bytes(),
        at: 0,
        line: 1,
    };
    let mut all = Vec::with_capacity(source.len() / 5);
    loop {
        let token = lexer.next()?;
        all.push(token);
        if token.tok == Tok::End {
            return Ok(all);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

fn starts_word(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%')
}

fn in_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%')
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn syntax(&self, message: impl Into<String>) -> PtxError {
        PtxError::Syntax {
            line: self.line,
            message: message.into(),
        }
    }

    fn skip_blank(&mut self) -> Result<(), PtxError> {
        loop {
            match self.peek(0) {
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' | 0x0c => self.at += 1,
                // Images sometimes carry padding NULs behind the text.
                0 if self.at < self.bytes.len() => self.at += 1,
                b'/' if self.peek(1) == b'/' => {
                    while self.at < self.bytes.len() && self.peek(0) != b'\n' {
                        self.at += 1;
                    }
                }
                b'/' if self.peek(1) == b'*' => {
                    self.at += 2;
                    while !(self.peek(0) == b'*' && self.peek(1) == b'/') {
                        if self.at >= self.bytes.len() {
                            return Err(self.syntax("comment without an end"));
                        }
                        if self.peek(0) == b'\n' {
                            self.line += 1;
                        }
                        self.at += 1;
                    }
                    self.at += 2;
                }
                _ => return Ok(()),
            }
        }
    }

    fn next(&mut self) -> Result<Token<'a>, PtxError> {
        self.skip_blank()?;
        let line = self.line;
        let c = self.peek(0);
        let tok = if self.at >= self.bytes.len() {
            Tok::End
        } else if starts_word(c) || (c == b'.' && in_word(self.peek(1))) {
            self.word()
        } else if c.is_ascii_digit() {
            self.number()?
        } else if c == b'"' {
            self.string()?
        } else {
            let c = self.text[self.at..].chars().next().unwrap_or('\u{fffd}');
            self.at += c.len_utf8();
            Tok::Punct(c)
        };
        Ok(Token { tok, line })
    }

    fn word(&mut self) -> Tok<'a> {
        let start = self.at;
        self.at += 1;
        loop {
            let c = self.peek(0);
            if in_word(c) {
                self.at += 1;
            } else if c == b'.' && in_word(self.peek(1)) {
                self.at += 2;
            } else if c == b':' && self.peek(1) == b':' && in_word(self.peek(2)) {
                self.at += 3;
            } else {
                return Tok::Word(&self.text[start..self.at]);
            }
        }
    }

    fn string(&mut self) -> Result<Tok<'a>, PtxError> {
        let start = self.at + 1;
        let mut end = start;
        loop {
            match self.bytes.get(end) {
                None | Some(b'\n') => return Err(self.syntax("string without an end")),
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        self.text
            .get(start..end)
            .map(Tok::Str)
            .ok_or_else(|| self.syntax("unreadable string"))
    }

    fn digits(&mut self, radix: u32) -> Result<u64, PtxError> {
        let start = self.at;
        while (self.peek(0) as char).is_digit(radix) {
            self.at += 1;
        }
        let digits = &self.text[start..self.at];
        u64::from_str_radix(digits, radix)
            .map_err(|_| self.syntax(format!("`{digits}` is no 64-bit number")))
    }

    fn number(&mut self) -> Result<Tok<'a>, PtxError> {
        let radix = match (self.peek(0), self.peek(1)) {
            (b'0', b'x' | b'X') => 16,
            (b'0', b'b' | b'B') => 2,
            (b'0', b'f' | b'F') => return self.bits(8).map(|v| Tok::F32(v as u32)),
            (b'0', b'd' | b'D') => return self.bits(16).map(Tok::F64),
            _ => 10,
        };
        if radix != 10 {
            self.at += 2;
            let value = self.digits(radix)?;
            self.suffix();
            return Ok(Tok::Int(value));
        }
        let start = self.at;
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        let fraction = self.peek(0) == b'.' && !starts_word(self.peek(1));
        let exponent = matches!(self.peek(0), b'e' | b'E')
            && (self.peek(1).is_ascii_digit() || matches!(self.peek(1), b'-' | b'+'));
        if fraction || exponent {
            while self.peek(0).is_ascii_digit() || self.peek(0) == b'.' {
                self.at += 1;
            }
            if matches!(self.peek(0), b'e' | b'E') {
                self.at += 1;
                if matches!(self.peek(0), b'-' | b'+') {
                    self.at += 1;
                }
                while self.peek(0).is_ascii_digit() {
                    self.at += 1;
                }
            }
            let digits = &self.text[start..self.at];
            return digits
                .parse::<f64>()
                .map(|v| Tok::F64(v.to_bits()))
                .map_err(|_| self.syntax(format!("`{digits}` is no number")));
        }
        self.at = start;
        let octal = self.peek(0) == b'0' && self.peek(1).is_ascii_digit();
        let value = self.digits(if octal { 8 } else { 10 })?;
        self.suffix();
        Ok(Tok::Int(value))
    }

    fn bits(&mut self, digits: usize) -> Result<u64, PtxError> {
        self.at += 2;
        let start = self.at;
        let value = self.digits(16)?;
        if self.at - start != digits {
            return Err(self.syntax("floating-point bits of the wrong length"));
        }
        Ok(value)
    }

    fn suffix(&mut self) {
        if matches!(self.peek(0), b'u' | b'U') {
            self.at += 1;
        }
    }
}
