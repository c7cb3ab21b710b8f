//! Words of PTX text, with their lines.

use super::PtxError;

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A directive or suffix, without its dot: `entry`, `u32`.
    Dot(&'a str),
    /// A name or a number.
    Word(&'a str),
    /// A string in quotes; its contents mean nothing here.
    Text,
    /// Any other character.
    Mark(u8),
}

/// The text that is left.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
        }
    }

    /// An error at the present line.
    pub(super) fn error(&self, why: &'static str) -> PtxError {
        PtxError {
            line: self.line,
            why,
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn advance(&mut self) {
        if self.peek(0) == Some(b'\n') {
            self.line = self.line.saturating_add(1);
        }
        self.at += 1;
    }

    /// The next word; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, PtxError> {
        self.skip_blank()?;
        let Some(byte) = self.peek(0) else {
            return Ok(None);
        };
        Ok(Some(match byte {
            b'.' => {
                self.at += 1;
                Token::Dot(self.word())
            }
            b'"' => self.string()?,
            b if is_word(b) => Token::Word(self.word()),
            b => {
                self.at += 1;
                Token::Mark(b)
            }
        }))
    }

    /// Looks at the next word without taking it.
    pub(super) fn look(&self) -> Result<Option<Token<'a>>, PtxError> {
        self.clone().next()
    }

    /// Takes the next word if it is this mark.
    pub(super) fn take(&mut self, mark: u8) -> Result<bool, PtxError> {
        let found = self.look()? == Some(Token::Mark(mark));
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn word(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        let len = rest.iter().position(|&b| !is_word(b)).unwrap_or(rest.len());
        self.at += len;
        // Word characters are ASCII.
        rest.get(..len)
            .and_then(|word| core::str::from_utf8(word).ok())
            .unwrap_or("")
    }

    fn string(&mut self) -> Result<Token<'a>, PtxError> {
        self.advance();
        loop {
            match self.peek(0) {
                None => return Err(self.error("a string does not end")),
                Some(b'"') => break,
                Some(b'\\') => self.advance(),
                Some(_) => {}
            }
            self.advance();
        }
        self.advance();
        Ok(Token::Text)
    }

    fn skip_blank(&mut self) -> Result<(), PtxError> {
        while let Some(byte) = self.peek(0) {
            match (byte, self.peek(1)) {
                (b'/', Some(b'/')) => {
                    while self.peek(0).is_some_and(|b| b != b'\n') {
                        self.at += 1;
                    }
                }
                (b'/', Some(b'*')) => {
                    self.at += 2;
                    while (self.peek(0), self.peek(1)) != (Some(b'*'), Some(b'/')) {
                        if self.peek(0).is_none() {
                            return Err(self.error("a comment does not end"));
                        }
                        self.advance();
                    }
                    self.at += 2;
                }
                (b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c, _) => self.advance(),
                _ => break,
            }
        }
        Ok(())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%')
}
