//! The module-scope variables of a PTX text, read just far enough to name them.

/// A variable in the global or constant state space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: String,
    /// It has an initialiser; without one it starts as zero.
    pub(crate) initialised: bool,
    /// Unified memory.
    pub(crate) managed: bool,
}

/// Cuts a text into words: identifiers and directives, numbers, strings, and single signs. Comments
/// are left out.
struct Words<'a> {
    rest: &'a str,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.' | '@')
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start();
            if let Some(comment) = self.rest.strip_prefix("//") {
                self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/").map_or("", |(_, after)| after);
            } else {
                break;
            }
        }
        let first = self.rest.chars().next()?;
        let len = if first == '"' {
            self.rest[1..]
                .find('"')
                .map_or(self.rest.len(), |end| end + 2)
        } else if is_word(first) {
            self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len())
        } else {
            first.len_utf8()
        };
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(word)
    }
}

/// The variables that a text defines. Declarations of other modules' variables are left out.
pub(crate) fn variables(text: &str) -> Vec<Variable> {
    let mut found = Vec::new();
    let mut words = Words { rest: text };
    let mut statement: Vec<&str> = Vec::new();
    let mut depth = 0usize;
    while let Some(word) = words.next() {
        let initialiser = statement.contains(&"=");
        match word {
            "{" if initialiser || depth > 0 => depth += 1,
            // The body of a function: nothing in it is of module scope.
            "{" => {
                skip_block(&mut words);
                statement.clear();
            }
            "}" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => {
                found.extend(variable(&statement));
                statement.clear();
            }
            // Directives that end with their line instead of a semicolon.
            ".version" | ".target" | ".address_size" | ".file" | ".loc" if depth == 0 => {
                words.rest = words.rest.find('\n').map_or("", |end| &words.rest[end..]);
                statement.clear();
            }
            word if depth == 0 => statement.push(word),
            _ => {}
        }
    }
    found
}

fn skip_block(words: &mut Words<'_>) {
    let mut depth = 1;
    for word in words {
        match word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// The variable that a statement of module scope defines, if it does.
fn variable(statement: &[&str]) -> Option<Variable> {
    let linkage = |word: &&str| matches!(*word, ".visible" | ".weak" | ".common");
    let space = statement.iter().position(|word| !linkage(word))?;
    if !matches!(*statement.get(space)?, ".global" | ".const") {
        return None;
    }
    let declared = statement.split(|word| *word == "=").next()?;
    if declared
        .iter()
        .any(|word| matches!(*word, ".texref" | ".surfref" | ".samplerref"))
    {
        return None;
    }
    // .global .align 8 .attribute(.managed) .u64 name[4]: the name is the last word that is neither
    // a directive nor a number, outside of brackets.
    let outside = declared
        .iter()
        .position(|word| *word == "[")
        .unwrap_or(declared.len());
    let name = declared.get(..outside)?.last()?;
    let identifier =
        name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$' | '%'));
    identifier.then(|| Variable {
        name: (*name).to_owned(),
        initialised: statement.contains(&"="),
        managed: declared.contains(&".managed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_scope_variables_are_found_and_nothing_else() {
        let text = r#"
            // .global .u32 in_a_comment;
            .version 8.0
            .target sm_70, texmode_independent
            .address_size 64
            .file 1 "a;b.cu"
            .extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);
            .extern .global .u32 elsewhere;
            .extern .shared .align 16 .b8 dynamic[];
            .visible .global .align 8 .u64 counter = 5;
            .global .align 4 .b8 scratch[64];
            .const .align 4 .b8 table[16] = {1, 2, 3, 0, /* } */ 4};
            .visible .const .f32 scale;
            .global .align 8 .u64 links[2] = {generic(counter), generic(scratch)};
            .visible .global .align 4 .attribute(.managed) .u32 shared_word;
            .global .texref old_texture;
            .global .align 1 .b8 $str[4] = {37, 100, 10};
            .visible .func (.param .b32 out) twice(.param .b32 in) { .reg .b32 %r; { .local .b8 x[4]; } ret; }
            .visible .entry kernel(.param .u64 p) .maxntid 64, 1, 1
            { .shared .align 4 .b8 tile[64]; .reg .pred %p<2>; ret; }
            .weak .global .v4 .f32 after;
        "#;
        let names: Vec<_> = variables(text)
            .into_iter()
            .map(|v| (v.name, v.initialised, v.managed))
            .collect();
        let expected = [
            ("counter", true, false),
            ("scratch", false, false),
            ("table", true, false),
            ("scale", false, false),
            ("links", true, false),
            ("shared_word", false, true),
            ("$str", true, false),
            ("after", false, false),
        ];
        assert_eq!(
            names,
            expected.map(|(name, init, managed)| (name.to_owned(), init, managed))
        );
    }

    #[test]
    fn damaged_texts_do_no_harm() {
        let text = ".global .u32 a = {1, 2; } } .visible .entry k( { \" /* ; .global .u32 b";
        for end in 0..text.len() {
            variables(&text[..end]);
        }
    }
}
