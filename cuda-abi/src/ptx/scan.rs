//! The scanner: one function for each kind of statement at module level.

use super::lexer::{Lexer, Token};
use super::{Entry, Linkage, Outline, Param, PtxError, Space, Variable};

impl<'a> Outline<'a> {
    /// Scans a module.
    ///
    /// # Errors
    /// A declaration that contradicts the grammar, or text that ends inside one.
    pub fn scan(text: &'a [u8]) -> Result<Self, PtxError> {
        let mut lexer = Lexer::new(text);
        let mut outline = Self {
            address_size: 32,
            ..Self::default()
        };
        let mut linkage = Linkage::Internal;
        while let Some(token) = lexer.next()? {
            let Token::Dot(directive) = token else {
                skip_statement(&mut lexer, token)?;
                continue;
            };
            let before = std::mem::take(&mut linkage);
            match directive {
                "version" => outline.version = version(&mut lexer)?,
                "target" => outline.targets = targets(&mut lexer)?,
                "address_size" => outline.address_size = small(&mut lexer)?,
                "visible" => linkage = Linkage::Visible,
                "extern" => linkage = Linkage::Extern,
                "weak" => linkage = Linkage::Weak,
                "common" => linkage = Linkage::Common,
                "entry" => outline.entries.push(entry(&mut lexer, before)?),
                "func" => skip_function(&mut lexer)?,
                "global" => variables(&mut lexer, Space::Global, before, &mut outline)?,
                "const" => variables(&mut lexer, Space::Const, before, &mut outline)?,
                "shared" => variables(&mut lexer, Space::Shared, before, &mut outline)?,
                "local" => variables(&mut lexer, Space::Local, before, &mut outline)?,
                _ => skip_directive(&mut lexer)?,
            }
        }
        if outline.version == (0, 0) {
            return Err(PtxError {
                line: 1,
                why: "there is no .version",
            });
        }
        Ok(outline)
    }
}

/// `.version 9.0`: the lexer gives the minor number as a suffix.
fn version(lexer: &mut Lexer<'_>) -> Result<(u16, u16), PtxError> {
    let number = |text: &str| text.parse().ok();
    let found = match (lexer.next()?, lexer.next()?) {
        (Some(Token::Word(major)), Some(Token::Dot(minor))) => number(major).zip(number(minor)),
        _ => None,
    };
    found.ok_or(lexer.error("a version is two numbers"))
}

fn targets<'a>(lexer: &mut Lexer<'a>) -> Result<Vec<&'a str>, PtxError> {
    let mut found = Vec::new();
    loop {
        found.push(name(lexer)?);
        if !lexer.take(b',')? {
            return Ok(found);
        }
    }
}

fn small(lexer: &mut Lexer<'_>) -> Result<u8, PtxError> {
    u8::try_from(number(lexer)?).map_err(|_| lexer.error("the number is too large"))
}

fn name<'a>(lexer: &mut Lexer<'a>) -> Result<&'a str, PtxError> {
    match lexer.next()? {
        Some(Token::Word(word)) => Ok(word),
        _ => Err(lexer.error("a name is missing")),
    }
}

/// A whole number: decimal, octal, hexadecimal or binary, perhaps with a `U`.
fn number(lexer: &mut Lexer<'_>) -> Result<u64, PtxError> {
    let word = name(lexer)?;
    let digits = word.strip_suffix('U').unwrap_or(word);
    let (digits, radix) = match digits.get(..2) {
        Some("0x" | "0X") => (digits.get(2..).unwrap_or(""), 16),
        Some("0b" | "0B") => (digits.get(2..).unwrap_or(""), 2),
        Some(two) if two.starts_with('0') => (digits, 8),
        _ => (digits, 10),
    };
    u64::from_str_radix(digits, radix).map_err(|_| lexer.error("a number is missing"))
}

/// `.entry name (params) directives { body }`.
fn entry<'a>(lexer: &mut Lexer<'a>, linkage: Linkage) -> Result<Entry<'a>, PtxError> {
    let name = name(lexer)?;
    let mut params = Vec::new();
    if lexer.take(b'(')? && !lexer.take(b')')? {
        let mut end = 0;
        loop {
            let declared = declaration(lexer)?;
            let size = declared
                .size
                .ok_or(lexer.error("a parameter has no size"))?;
            let offset =
                align_up(end, declared.align).ok_or(lexer.error("parameters too large"))?;
            end = offset
                .checked_add(size)
                .ok_or(lexer.error("parameters too large"))?;
            params.push(Param {
                name: declared.name,
                offset,
                size,
                align: declared.align,
            });
            if !lexer.take(b',')? {
                break;
            }
        }
        if !lexer.take(b')')? {
            return Err(lexer.error("a parameter list does not end"));
        }
    }
    skip_to_body_end(lexer)?;
    Ok(Entry {
        name,
        linkage,
        params,
    })
}

fn align_up(offset: u64, align: u64) -> Option<u64> {
    offset.checked_next_multiple_of(align.max(1))
}

/// One declared name with its type.
struct Declared<'a> {
    name: &'a str,
    shape: Shape,
    size: Option<u64>,
    align: u64,
}

/// What stands before the names of a declaration.
#[derive(Clone, Copy, Default)]
struct Shape {
    element: u64,
    align: u64,
    managed: bool,
    reference: bool,
}

/// `.param .align 8 .b8 name[16]`, up to and without what follows.
fn declaration<'a>(lexer: &mut Lexer<'a>) -> Result<Declared<'a>, PtxError> {
    let shape = shape(lexer)?;
    declared(lexer, shape)
}

/// Space, alignment, vector and type, in any order, before a name.
fn shape(lexer: &mut Lexer<'_>) -> Result<Shape, PtxError> {
    let (mut shape, mut vector, mut align) = (Shape::default(), 1, None);
    let mut of_pointer = false;
    while let Some(Token::Dot(word)) = lexer.look()? {
        lexer.next()?;
        match word {
            "align" => {
                let value = number(lexer)?;
                if !value.is_power_of_two() {
                    return Err(lexer.error("an alignment is no power of two"));
                }
                if !of_pointer {
                    align = Some(value);
                }
            }
            // What follows describes what the pointer leads to.
            "ptr" => of_pointer = true,
            "v2" => vector = 2,
            "v4" => vector = 4,
            "v8" => vector = 8,
            "texref" | "samplerref" | "surfref" => {
                shape.reference = true;
                shape.element = 8;
            }
            "attribute" => shape.managed |= attribute(lexer)?,
            _ => shape.element = element(word).unwrap_or(shape.element),
        }
    }
    if shape.element == 0 {
        return Err(lexer.error("a declaration has no type"));
    }
    shape.element *= vector;
    shape.align = align.unwrap_or(shape.element);
    Ok(shape)
}

/// `(.managed)`, and others.
fn attribute(lexer: &mut Lexer<'_>) -> Result<bool, PtxError> {
    let mut managed = false;
    if !lexer.take(b'(')? {
        return Ok(false);
    }
    loop {
        match lexer.next()? {
            None => return Err(lexer.error("an attribute does not end")),
            Some(Token::Mark(b')')) => return Ok(managed),
            Some(Token::Dot("managed")) => managed = true,
            Some(_) => {}
        }
    }
}

/// A type's bytes.
fn element(word: &str) -> Option<u64> {
    Some(match word {
        "b8" | "u8" | "s8" | "e4m3" | "e5m2" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" | "e4m3x2" | "e5m2x2" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// A name and its dimensions.
fn declared<'a>(lexer: &mut Lexer<'a>, shape: Shape) -> Result<Declared<'a>, PtxError> {
    let name = name(lexer)?;
    let mut size = Some(shape.element);
    while lexer.take(b'[')? {
        if lexer.take(b']')? {
            size = None;
            continue;
        }
        let count = number(lexer)?;
        if !lexer.take(b']')? {
            return Err(lexer.error("a dimension does not end"));
        }
        if let Some(so_far) = size {
            let bytes = so_far.checked_mul(count);
            size = Some(bytes.ok_or(lexer.error("a variable is too large"))?);
        }
    }
    Ok(Declared {
        name,
        shape,
        size,
        align: shape.align,
    })
}

/// `.global .align 4 .b8 a[16] = {1, 2}, b[4];`
fn variables<'a>(
    lexer: &mut Lexer<'a>,
    space: Space,
    linkage: Linkage,
    outline: &mut Outline<'a>,
) -> Result<(), PtxError> {
    // `.const[2]` names a bank.
    if lexer.take(b'[')? {
        number(lexer)?;
        lexer.take(b']')?;
    }
    let shape = shape(lexer)?;
    loop {
        let declared = declared(lexer, shape)?;
        let initialised = lexer.take(b'=')?;
        let given = if initialised { skip_value(lexer)? } else { 0 };
        // An open array takes its size from its value.
        let open = (initialised && declared.size.is_none()).then(|| given * shape.element);
        outline.variables.push(Variable {
            name: declared.name,
            space,
            size: declared.size.or(open),
            align: declared.align,
            initialised,
            linkage,
            managed: declared.shape.managed,
            reference: declared.shape.reference,
        });
        if lexer.take(b';')? {
            return Ok(());
        }
        if !lexer.take(b',')? {
            return Err(lexer.error("a variable's declaration does not end"));
        }
    }
}

/// Skips an initial value up to the comma or semicolon after it; gives the number of its parts.
fn skip_value(lexer: &mut Lexer<'_>) -> Result<u64, PtxError> {
    let (mut depth, mut parts, mut fresh) = (0_u32, 0, true);
    loop {
        match lexer.look()? {
            None => return Err(lexer.error("a value does not end")),
            Some(Token::Mark(b',' | b';')) if depth == 0 => return Ok(parts),
            Some(Token::Mark(b'{' | b'(')) => depth += 1,
            Some(Token::Mark(b'}' | b')')) => {
                depth = depth
                    .checked_sub(1)
                    .ok_or(lexer.error("a brace too many"))?;
            }
            Some(Token::Mark(b',')) => fresh = true,
            Some(_) => {
                parts += u64::from(fresh);
                fresh = false;
            }
        }
        lexer.next()?;
    }
}

/// Skips `.func`'s results, name, parameters and body or semicolon.
fn skip_function(lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
    skip_to_body_end(lexer)
}

/// Skips to the end of the next body, or to a semicolon before one.
fn skip_to_body_end(lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
    loop {
        match lexer.next()? {
            None => return Err(lexer.error("a function has no body")),
            Some(Token::Mark(b';')) => return Ok(()),
            Some(Token::Mark(b'{')) => return skip_body(lexer),
            Some(_) => {}
        }
    }
}

/// Skips past the brace that closes the one before.
fn skip_body(lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
    let mut depth = 1_u32;
    while depth > 0 {
        match lexer.next()? {
            None => return Err(lexer.error("a body does not end")),
            Some(Token::Mark(b'{')) => depth += 1,
            Some(Token::Mark(b'}')) => depth -= 1,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Skips what follows a directive that means nothing here (`.file`, `.section`, `.pragma`): up to
/// a semicolon, a body's end, or the next directive.
fn skip_directive(lexer: &mut Lexer<'_>) -> Result<(), PtxError> {
    loop {
        match lexer.look()? {
            None | Some(Token::Dot(_)) => return Ok(()),
            Some(Token::Mark(b';')) => return lexer.next().map(|_| ()),
            Some(Token::Mark(b'{')) => {
                lexer.next()?;
                return skip_body(lexer);
            }
            Some(_) => lexer.next()?,
        };
    }
}

/// Skips a statement that does not begin with a directive.
fn skip_statement(lexer: &mut Lexer<'_>, first: Token<'_>) -> Result<(), PtxError> {
    if first == Token::Mark(b'{') {
        skip_body(lexer)
    } else {
        skip_directive(lexer)
    }
}
