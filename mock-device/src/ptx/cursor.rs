//! A cursor over tokens with the small helpers that both parsers use.

use super::PtxError;
use super::lexer::{Tok, Token};

/// Position in a token list that ends in `Tok::End`.
pub(super) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    /// Nesting of scopes and expressions, bounded so that no text can
    /// exhaust the stack.
    depth: u32,
}

const MAX_DEPTH: u32 = 100;

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: Vec<Token<'a>>) -> Cursor<'a> {
        Cursor {
            tokens,
            at: 0,
            depth: 0,
        }
    }

    pub(super) fn enter(&mut self) -> Result<(), PtxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn peek(&self) -> Tok<'a> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Tok<'a> {
        self.tokens.get(self.at + ahead).map_or(Tok::End, |t| t.tok)
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(0, |t| t.line)
    }

    pub(super) fn next(&mut self) -> Tok<'a> {
        let tok = self.peek();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        tok
    }

    pub(super) fn error(&self, message: impl Into<String>) -> PtxError {
        PtxError::Syntax {
            line: self.line(),
            message: message.into(),
        }
    }

    pub(super) fn unexpected(&self, wanted: &str) -> PtxError {
        self.error(format!(
            "expected {wanted}, found {}",
            describe(self.peek())
        ))
    }

    /// Takes the character if it is next.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Tok::Punct(c);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expect(&mut self, c: char) -> Result<(), PtxError> {
        if self.eat(c) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{c}`")))
        }
    }

    /// Takes that very word if it is next.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Tok::Word(word);
        if found {
            self.next();
        }
        found
    }

    /// A name: a word that is no directive.
    pub(super) fn name(&mut self) -> Result<&'a str, PtxError> {
        match self.peek() {
            Tok::Word(w) if !w.starts_with('.') => {
                self.next();
                Ok(w)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    pub(super) fn int(&mut self) -> Result<u64, PtxError> {
        match self.peek() {
            Tok::Int(v) => {
                self.next();
                Ok(v)
            }
            _ => Err(self.unexpected("an integer")),
        }
    }

    pub(super) fn small(&mut self) -> Result<u32, PtxError> {
        let value = self.int()?;
        u32::try_from(value).map_err(|_| self.error("number too large"))
    }

    /// Skips the rest of the current line (`.loc`, `.file`).
    pub(super) fn skip_line(&mut self) {
        let line = self.line();
        while self.line() == line && self.peek() != Tok::End {
            self.next();
        }
    }

    /// Skips to behind the `}` that closes the `{` which must be next.
    pub(super) fn skip_braces(&mut self) -> Result<(), PtxError> {
        self.expect('{')?;
        let mut open = 1;
        while open > 0 {
            match self.next() {
                Tok::Punct('{') => open += 1,
                Tok::Punct('}') => open -= 1,
                Tok::End => return Err(self.error("`{` without `}`")),
                _ => {}
            }
        }
        Ok(())
    }

    /// An integer expression: `+ - * / % << >> & | ^`, unary `- ! ~`,
    /// parentheses; all in 128 bits.
    pub(super) fn expression(&mut self) -> Result<i128, PtxError> {
        self.binary(0)
    }

    fn binary(&mut self, level: usize) -> Result<i128, PtxError> {
        const LEVELS: [&[char]; 6] = [
            &['|'],
            &['^'],
            &['&'],
            &['<', '>'],
            &['+', '-'],
            &['*', '/', '%'],
        ];
        if level == LEVELS.len() {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Tok::Punct(c) = self.peek() {
            if !LEVELS[level].contains(&c) {
                break;
            }
            self.next();
            if c == '<' || c == '>' {
                self.expect(c)?;
            }
            let right = self.binary(level + 1)?;
            left = match c {
                '|' => left | right,
                '^' => left ^ right,
                '&' => left & right,
                '<' => left.checked_shl(right as u32).unwrap_or(0),
                '>' => left.checked_shr(right as u32).unwrap_or(0),
                '+' => left.wrapping_add(right),
                '-' => left.wrapping_sub(right),
                '*' => left.wrapping_mul(right),
                '/' => left
                    .checked_div(right)
                    .ok_or_else(|| self.error("division by zero"))?,
                _ => left
                    .checked_rem(right)
                    .ok_or_else(|| self.error("division by zero"))?,
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<i128, PtxError> {
        self.enter()?;
        let value = match self.peek() {
            Tok::Punct('-') => {
                self.next();
                self.unary()?.wrapping_neg()
            }
            Tok::Punct('+') => {
                self.next();
                self.unary()?
            }
            Tok::Punct('~') => {
                self.next();
                !self.unary()?
            }
            Tok::Punct('!') => {
                self.next();
                i128::from(self.unary()? == 0)
            }
            Tok::Punct('(') => {
                self.next();
                let value = self.expression()?;
                self.expect(')')?;
                value
            }
            _ => i128::from(self.int()?),
        };
        self.leave();
        Ok(value)
    }
}

/// A token in words, for messages.
pub(super) fn describe(tok: Tok<'_>) -> String {
    match tok {
        Tok::Word(w) => format!("`{w}`"),
        Tok::Int(v) => format!("`{v}`"),
        Tok::F32(v) => format!("`0f{v:08X}`"),
        Tok::F64(v) => format!("`0d{v:016X}`"),
        Tok::Str(s) => format!("\"{s}\""),
        Tok::Punct(c) => format!("`{c}`"),
        Tok::End => "the end of the text".into(),
    }
}
